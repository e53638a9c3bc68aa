"""`into` and `after` under `kill -9`, at every point of theirs: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, die, finish

ECHO = f'command: ["{sys.executable}", -I, -S, -c, "import sys; sys.stdout.write(sys.stdin.read())"], output: json'
INTO = f"""
  rows: {{{ECHO}, into: {{table: jobs, pk: id, add: {{worth: "{{{{ id * 2 }}}}"}}, indexes: [worth]}}}}
  other: {{{ECHO}, into: {{table: jobs, pk: id, database: other.db}}}}
  lines: {{{ECHO}, into: {{file: out/all.jsonl}}}}
  sheet: {{{ECHO}, into: {{file: all.csv}}}}
"""
ALWAYS = [
    ("batchctl.commits:record", "before"),
    ("batchctl.commits:record", "after"),
    ("batchctl.worker:note", "before"),
]
POINTS = {
    "rows": [("batchctl.sinks.delivery:put", "after"), *ALWAYS],
    "other": [
        ("batchctl.sinks.delivery:put", "after"),
        ("batchctl.engines.sqlite_file:SqliteFile.commit", "after"),
        ("batchctl.commits:record", "after"),
    ],
    "lines": [
        ("batchctl.sinks.lines:Lines.lock", "after"),
        ("batchctl.sinks.lines:Lines.append", "before"),
        ("batchctl.sinks.lines:Lines.append", "after"),
        ("batchctl.sinks.delivery:sinks.remember", "after"),
        ("batchctl.commits:record", "after"),
    ],
    "sheet": [("batchctl.sinks.lines:Lines.begin", "after"), ("batchctl.sinks.lines:Lines.flush", "after")],
}
PREPARED = ("batchctl.porter:filing.prepare", "after")
FINISHED = ("batchctl.porter:filing.finish", "after")
SETTLED = ("batchctl.porter:filing.settle", "after")
FILES = {
    "moved": [
        ("batchctl.commits:file_acts.intend", "after"),
        ("batchctl.worker:note", "before"),
        PREPARED,
        FINISHED,
        SETTLED,
        ("batchctl.porter:_Round.run", "after"),
    ],
    "dropped": [FINISHED, SETTLED],
    "elsewhere": [PREPARED, ("batchctl.filing:_rename", "after"), FINISHED, SETTLED],
}
KEYS = list(range(1, 7))


@pytest.mark.parametrize(("processor", "point", "moment"), [(p, *point) for p in POINTS for point in POINTS[p]])
def test_results_survive_a_kill_at_every_point(scene: Scene, processor: str, point: str, moment: str) -> None:
    scene.cli.config(CONFIG + INTO)
    scene.enqueue(len(KEYS), processor=processor)
    die(scene, point, moment, 2, "run", "-j", "1")
    scene.drain("-j", "2")
    assert found(scene, processor) == KEYS
    audit(scene)


def test_workers_grow_one_table_together(scene: Scene) -> None:
    """Each order brings a column of its own, and they all want to make the table."""
    scene.cli.config(CONFIG + INTO)
    orders = [{"id": number, f"column_{number % 20}": number} for number in range(1, 91)]
    scene.enqueue(orders, processor="rows")
    for worker in [scene.worker("-j", "4") for _ in range(3)]:
        finish(worker, 0)
    assert [row[0] for row in scene.rows("SELECT id FROM jobs ORDER BY id")] == list(range(1, 91))
    columns = ", ".join(f"column_{number}" for number in range(20))
    for number, *filled in scene.rows(f"SELECT id, {columns} FROM jobs"):  # noqa: S608 - made of numbers
        assert [value for value in filled if value is not None] == [filled[int(number) % 20]] == [number]
    audit(scene)


def found(scene: Scene, processor: str) -> list[int]:
    """The numbers of the orders whose rows are there, once for each row."""
    if processor == "rows":
        rows = scene.rows("SELECT id, worth FROM jobs ORDER BY id")
        assert all(worth == 2 * number for number, worth in rows)
        return [int(number) for number, _ in rows]
    if processor == "other":
        with closing(sqlite3.connect(scene.folder / "other.db")) as other:
            return [number for (number,) in other.execute("SELECT id FROM jobs ORDER BY id")]
    if processor == "lines":
        return sorted(json.loads(line)["id"] for line in scene.lines("out/all.jsonl"))
    header, *lines = scene.lines("all.csv")
    assert header == "id"
    return sorted(map(int, lines))


@pytest.mark.parametrize(("way", "point", "moment"), [(way, *point) for way in FILES for point in FILES[way]])
def test_files_survive_a_kill_at_every_point(scene: Scene, way: str, point: str, moment: str) -> None:
    inbox = scene.folder / "in"
    for name in ("a", "b"):
        (inbox / name).mkdir(parents=True)
        (inbox / name / "same.txt").write_text(f"from {name}\n")  # both want the same name
    with _another_file_system() if way == "elsewhere" else nullcontext(scene.folder / "done") as done:
        act = "delete" if way == "dropped" else f"move:{done}"
        scene.cli.config(CONFIG + f"""  look: {{command: [cat, "{{{{ path }}}}"], after: {{completed: "{act}"}}}}\n""")
        scene.cli.ok("enqueue", "files", "-r", "in", "-p", "look")
        die(scene, point, moment, 1, "run", "-j", "1")
        scene.drain("-j", "1")
        assert [path for path in inbox.rglob("*") if path.is_file()] == []
        if way != "dropped":
            assert {path.name for path in done.iterdir()} == {"same.txt", "same.1.txt"}
            assert sorted(path.read_text() for path in done.iterdir()) == ["from a\n", "from b\n"]
    assert scene.rows("SELECT item_id FROM file_acts") == []
    assert scene.rows("SELECT detail FROM events WHERE event = 'file_kept'") == []  # what was done is recognised
    audit(scene)


@contextmanager
def _another_file_system() -> Iterator[Path]:
    with TemporaryDirectory(dir="/dev/shm") as folder:
        assert Path(folder).stat().st_dev != Path(__file__).stat().st_dev
        yield Path(folder) / "done"
