"""`after` as its users see it, on every engine: files move or go when their item is final, and no file is ever lost."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from queuekit import Program

from batchctl import filing
from batchctl.filing import Left, finish, prepare
from batchctl.intake.hashing import Unreadable, examine
from batchctl.transitions.file_facts import file_ref

# Fails for good where the file says so.
LOOK = """command: [sh, -c, 'grep -q bad "$0" && exit 65; cat "$0"', "{{ path }}"]"""


def configure(after: str, look: str = LOOK) -> None:
    path = Path("batchctl.yaml")
    path.write_text(f"worker: {{min_free: 0}}\nprocessors:\n  p: {{{look}, after: {after}}}\n", encoding="utf-8")
    path.chmod(0o600)


def put_in(program: Program, texts: dict[str, str]) -> str:
    for name, text in texts.items():
        path = Path("in") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return program("enqueue", "files", "-r", "in", "-p", "p", "--print-id", "--again").out.strip()


def files() -> dict[str, str]:
    """Every file below the folders of the test, and what it holds."""
    found = (path for folder in ("in", "done", "failed") for path in Path(folder).rglob("*"))
    return {str(path): path.read_text() for path in found if path.is_file()}


def test_files_go_where_their_items_went(program: Program) -> None:
    configure('{completed: "move:done/", failed: "move:failed"}')
    batch = put_in(program, {"a.txt": "a", "b.txt": "bad"})
    program("run", code=1)
    assert files() == {"done/a.txt": "a", "failed/b.txt": "bad"}
    items = program("show", batch, "--json").json["items"]
    assert [item["file"]["path"] for item in items] == [str(Path(path).absolute()) for path in sorted(files())]


def test_a_retry_finds_the_file_and_moves_it_on(program: Program) -> None:
    configure('{completed: "move:done/", failed: "move:failed/"}')
    batch = put_in(program, {"b.txt": "bad"})
    program("run", code=1)
    configure('{completed: "move:done/"}', 'command: [cat, "{{ path }}"]')
    program("retry", batch, "--run")
    assert files() == {"done/b.txt": "bad"}


def test_a_check_of_one_organization_leaves_the_files_of_others(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure('{completed: "move:done/"}')
    Path("in").mkdir()
    Path("in/a.txt").write_text("a")
    program("enqueue", "files", "in/a.txt", "-p", "p", "--org", "acme")
    with monkeypatch.context() as nobody_carries:
        nobody_carries.setattr("batchctl.commands.drain._porter", lambda *_: nullcontext())
        program("run")
    program("check", "--org", "other")
    assert files() == {"in/a.txt": "a"}
    program("check", "--org", "acme")
    assert files() == {"done/a.txt": "a"}


def test_what_is_tried_again_keeps_its_file(program: Program) -> None:
    configure("{completed: delete, failed: delete}", "command: ['false'], max_retries: 1")
    put_in(program, {"a.txt": "a"})
    program("run", "--no-wait", code=None)
    assert files() == {"in/a.txt": "a"}


def test_no_file_is_overwritten(program: Program) -> None:
    configure('{completed: "move:done/"}')
    Path("done").mkdir()
    Path("done/a.txt").write_text("somebody's")
    put_in(program, {"a.txt": "mine", "x/a.txt": "mine, too"})
    program("run")
    names = {"done/a.txt", "done/a.1.txt", "done/a.2.txt"}
    assert files().keys() == names
    assert set(files().values()) == {"somebody's", "mine", "mine, too"}
    assert files()["done/a.txt"] == "somebody's"


def test_another_file_than_the_one_enqueued_stays(program: Program) -> None:
    configure("{completed: delete}", """command: [sh, -c, 'echo new > "$0"', "{{ path }}"]""")
    batch = put_in(program, {"a.txt": "old\n"})
    done = program("run")
    assert files() == {"in/a.txt": "new\n"}
    assert "nothing was done with its file" in done.err
    assert "file_kept" in program("history", batch).out


def test_what_cannot_be_done_is_told_and_tried_again(program: Program, database: Database) -> None:
    configure('{completed: "move:done/"}')
    Path("done").write_text("no folder")
    put_in(program, {"a.txt": "a"})
    done = program("run")
    assert "could not be moved" in done.err
    assert Path("in/a.txt").read_text() == "a"
    Path("done").unlink()
    database.change("UPDATE file_acts SET next_attempt_at = 0")
    program("check")
    assert files() == {"done/a.txt": "a"}
    assert database.query("SELECT item_id FROM file_acts") == []


def test_names_that_are_not_utf8(program: Program) -> None:
    configure('{completed: "move:done/"}')
    Path("in").mkdir()
    Path(os.fsdecode(b"in/caf\xe9.txt")).write_text("x")
    batch = program("enqueue", "files", "-r", "in", "-p", "p", "--print-id").out.strip()
    program("run")
    assert [os.fsencode(path) for path in Path("done").iterdir()] == [b"done/caf\xe9.txt"]
    assert program("show", batch, "--json").json["items"][0]["file"]["path"].endswith("done/caf\\xe9.txt")


def test_orders_have_no_file(program: Program, database: Database) -> None:
    configure("{completed: delete}", "command: ['true']")
    Path("orders.json").write_text('[{"id": 1}]')
    program("enqueue", "orders", "orders.json", "-p", "p")
    program("run")
    assert database.query("SELECT item_id FROM file_acts") == []


# -- filing by itself


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("content")
    return tmp_path


def ref(path: Path) -> Any:
    facts = examine(str(path))
    assert not isinstance(facts, Unreadable)
    return file_ref(facts.as_json())


def test_the_folder_where_it_is_already(folder: Path) -> None:
    file = ref(folder / "in/a.txt")
    (folder / "also").symlink_to(folder / "in")
    for same in (folder / "in", folder / "also"):
        finish(prepare(file, same, 1))
        assert (folder / "in/a.txt").read_text() == "content"


def test_a_link_in_the_way_that_leads_to_the_very_file(folder: Path) -> None:
    """Its content is the same, but it is nothing without the file."""
    file = ref(folder / "in/a.txt")
    (folder / "done").mkdir()
    (folder / "done/a.txt").symlink_to(folder / "in/a.txt")
    finish(prepare(file, folder / "done", 1))
    assert (folder / "done/a.1.txt").read_text() == "content"


@pytest.mark.parametrize("copy", [False, True])
def test_a_name_that_is_taken_at_the_last_moment(folder: Path, copy: bool) -> None:
    file = ref(folder / "in/a.txt")
    ready = prepare(file, folder / "done", 1, copy=copy)
    (folder / "done/a.txt").write_text("somebody's")
    with pytest.raises(FileExistsError):
        finish(ready)
    assert (folder / "done/a.txt").read_text() == "somebody's"
    assert (folder / "in/a.txt").read_text() == "content"


def test_a_file_system_that_knows_no_careful_rename(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "_renameat2", lambda: None)
    test_a_name_that_is_taken_at_the_last_moment(folder, copy=False)
    (folder / "done/a.txt").unlink()
    finish(prepare(ref(folder / "in/a.txt"), folder / "done", 1))
    assert (folder / "done/a.txt").read_text() == "content"


def test_what_was_moved_is_recognised(folder: Path) -> None:
    file = ref(folder / "in/a.txt")
    (folder / "done").mkdir()
    (folder / "done/a.txt").write_text("somebody's")
    finish(prepare(file, folder / "done", 1))
    again = prepare(file, folder / "done", 1)
    assert (again.path, finish(again)) == (folder / "done/a.1.txt", set())


def test_what_is_gone_is_gone(folder: Path) -> None:
    file = ref(folder / "in/a.txt")
    (folder / "in/a.txt").unlink()
    with pytest.raises(Left, match="is gone"):
        prepare(file, folder / "done", 1)
    finish(prepare(file, None, 1))


def test_a_copy_keeps_mode_and_time(folder: Path) -> None:
    source = folder / "in/a.txt"
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    finish(prepare(ref(source), folder / "done", 1, copy=True))
    found = (folder / "done/a.txt").stat()
    assert (found.st_mode & 0o777, found.st_mtime, source.exists()) == (0o640, 1_000_000_000, False)
    assert [path.name for path in (folder / "done").iterdir()] == ["a.txt"]
