"""cleanup and backup as people and scripts meet them."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from queuekit import Program, Queue, program_in

from batchctl import orphans, reserve
from batchctl.store import Store

RULES = "store: queue.db\ncheck: {retention: {completed: 1ms, failed: never}}\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    with program_in(tmp_path, monkeypatch, capsys) as made:
        yield made


def config(tmp_path: Path, text: str = RULES) -> None:
    (tmp_path / "batchctl.yaml").write_text(text)
    (tmp_path / "batchctl.yaml").chmod(0o600)


def fill(program: Program) -> None:
    """A batch that completed, one that failed, one that is not finished."""
    for name in ("good", "bad", "open"):
        program.queue.add(2, name=name, processor=name)
    program.queue.complete(*program.queue.claim(1, "good"))
    program.queue.complete(*program.queue.claim(1, "good"))
    program.queue.fail(*program.queue.claim(1, "bad"))
    program.queue.fail(*program.queue.claim(1, "bad"))
    program.queue.complete(*program.queue.claim(1, "open"))


def names(program: Program) -> set[str]:
    return {batch["name"] for batch in program("list", "--json").json["batches"]}


# -- cleanup


def test_without_a_rule_it_refuses(program: Program) -> None:
    fill(program)
    answer = program("cleanup", "-y", code=2)
    assert "--older-than 30d" in answer.err
    assert names(program) == {"good", "bad", "open"}


def test_a_config_that_keeps_all_for_ever_is_no_rule(program: Program, tmp_path: Path) -> None:
    config(tmp_path, "check: {retention: {failed: never}}\n")
    assert "there is no rule" in program("cleanup", code=2).err


def test_by_the_config(program: Program, tmp_path: Path) -> None:
    config(tmp_path)
    fill(program)
    seen = program("cleanup", "--dry-run")
    assert "good" in seen.out
    assert "would go: 1 batch, 2 items" in seen.err
    assert names(program) == {"good", "bad", "open"}
    answer = program("cleanup", "--json").json
    assert (answer["deleted_batches"], answer["deleted_items"], answer["dry_run"]) == (1, 2, False)
    assert len(answer["batches"]) == 1
    assert names(program) == {"bad", "open"}
    assert program("cleanup", "--json").json["deleted_batches"] == 0


def test_by_age(program: Program, tmp_path: Path) -> None:
    fill(program)
    assert program("cleanup", "--older-than", "1h", "--json").json["deleted_batches"] == 0
    assert program("cleanup", "--older-than", "0s", "-y").err.startswith("deleted: 2 batches, 4 items")
    assert names(program) == {"open"}
    config(tmp_path)
    program("retry", "open", code=None)
    assert "`never`" in program("cleanup", "--older-than", "0s").err
    assert "--older-than" in program("cleanup", "--older-than", "soon", code=2).err


def test_an_age_without_a_unit_deletes_nothing(program: Program) -> None:
    fill(program)
    assert "write 30d for days, or 30h for hours" in program("cleanup", "--older-than", "30", "-y", code=2).err
    assert names(program) == {"good", "bad", "open"}


def test_no_store_is_made(program: Program) -> None:
    answer = program("cleanup", "--older-than", "1d", "--store", "nowhere.db", "--json")
    assert answer.json["deleted_batches"] == 0
    assert not Path("nowhere.db").exists()


def test_space_is_given_back_and_a_reserve_kept(program: Program, tmp_path: Path) -> None:
    program.queue.add([{"id": f"k{n}", "text": "x" * 5_000} for n in range(400)])
    while claimed := program.queue.claim(100):
        for item in claimed:
            program.queue.complete(item)
    program.queue.store.engine.upkeep().flush()
    before = (tmp_path / "queue.db").stat().st_size
    answer = program("cleanup", "--older-than", "0s", "--json").json
    assert answer["freed_bytes"] > before / 2
    assert (tmp_path / "queue.db").stat().st_size < before / 2
    with closing(sqlite3.connect(tmp_path / "queue.db")) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    kept = tmp_path / "queue.db.run" / "reserve"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.stat().st_size > 0
    assert reserve.give_up(kept.parent) > 0
    assert reserve.give_up(kept.parent) == 0


def test_what_dead_workers_left_goes(program: Program, tmp_path: Path) -> None:
    run = tmp_path / "queue.db.run"
    gone, living, fresh = (f"w{letter * 16}" for letter in "abc")
    (run / gone).mkdir(parents=True)
    (run / gone / "spool").write_bytes(b"x" * 100)
    (run / f"{gone}.inflight").touch()
    (run / f"{living}.inflight").touch()
    (run / "somebody's").touch()
    for path in run.iterdir():
        os.utime(path, (1, 1))
    (run / fresh).mkdir()
    presence = program.queue.store.engine.presence(living)
    try:
        assert program("cleanup", "--older-than", "1d", "--dry-run", "--json").json["deleted_files"] == 2
        assert program("cleanup", "--older-than", "1d", "--json").json["deleted_files"] == 2
    finally:
        presence.leave()
    left = {path.name for path in run.iterdir()}
    assert {f"{living}.inflight", "somebody's", fresh, "write.lock"} <= left
    assert not {gone, f"{gone}.inflight"} & left
    assert orphans.find(tmp_path / "no folder", (), lambda _: False) == []


# -- backup


def test_a_copy_can_be_used_in_place_of_the_store(program: Program, tmp_path: Path) -> None:
    fill(program)
    answer = program("backup", "copy.db", "--json").json
    copy = tmp_path / "copy.db"
    assert answer["file"] == str(copy)
    assert answer["verified"] is True
    assert answer["bytes"] == copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".copy", "copy.db-"))]
    for what in (("errors",), ("results", "good", "--format", "json"), ("show", "bad")):
        assert program(*what, "--json", "--store", "copy.db").json == program(*what, "--json").json
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_writers_go_on_and_the_copy_is_of_one_moment(program: Program, tmp_path: Path) -> None:
    """A writer commits while the pages are copied: its batch is whole in the copy, or not there."""
    program.queue.add([{"id": f"k{n}", "text": "x" * 3_000} for n in range(3_000)])
    written: list[int] = []
    stop = threading.Event()

    def write() -> None:
        store = Store.open(str(tmp_path / "queue.db"), create=False)
        while not stop.is_set():
            with store.engine.write() as tx:
                tx.run("raise_control")
                tx.run("ensure_processor", {"processor": f"p{len(written)}"})
            written.append(1)
        store.close()

    during: list[int] = []
    thread = threading.Thread(target=write)
    thread.start()
    try:
        target = tmp_path / "copy.db"
        program.queue.store.engine.upkeep().backup(target, lambda *_: during.append(len(written)))
    finally:
        stop.set()
        thread.join()
    assert during[-1] > during[0], "the writer did not wait for the copy"
    with closing(sqlite3.connect(target)) as connection:
        number = connection.execute("SELECT number FROM control").fetchone()[0]
        made = connection.execute("SELECT count(*) FROM processors WHERE name GLOB 'p[0-9]*'").fetchone()[0]
    assert 0 <= number - made <= 1, "the enqueue raises it, too"


def test_where_a_copy_may_not_go(program: Program, tmp_path: Path) -> None:
    fill(program)
    (tmp_path / "there").write_text("mine")
    assert "--force" in program("backup", "there", code=2).err
    assert (tmp_path / "there").read_text() == "mine"
    assert "store itself" in program("backup", "queue.db", "--force", code=2).err
    assert "no file" in program("backup", ".", "--force", code=2).err
    assert "cannot write" in program("backup", "no/where.db", code=2).err
    program("backup", "there", "--force")
    assert (tmp_path / "there").read_bytes().startswith(b"SQLite format 3")
    assert "no store" in program("backup", "x.db", "--store", "nowhere.db", code=5).err
    assert not (tmp_path / "nowhere.db").exists()


def test_a_damaged_store_is_not_taken_for_a_good_copy(program: Program, tmp_path: Path) -> None:
    other = Queue(tmp_path / "other.db")
    other.add([{"id": "needle"}])
    other.store.engine.upkeep().flush()
    other.close()
    content = (tmp_path / "other.db").read_bytes()
    *_, place = re.finditer(rb'(?<!")needle', content)  # the payload has it in quotes
    damaged = content[: place.start()] + b"noodle" + content[place.end() :]
    (tmp_path / "other.db").write_bytes(damaged)  # a table and its index do not agree any more
    assert "damaged" in program("backup", "copy.db", "--store", "other.db", code=5).err
    assert not [path.name for path in tmp_path.iterdir() if "copy" in path.name]
