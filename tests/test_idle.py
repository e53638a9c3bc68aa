"""`check` where nothing is due: answered before the program is loaded, and never where anything might be."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import Cli
from queuekit import Program, program_in

from batchctl import idle, idle_note
from batchctl.membership import Membership

CONFIG = "store: queue.db\nworker: {min_free: 0}\nprocessors: {p: {command: ['true']}}\n"
Change = Callable[[Program, Path], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    """A store in which much has ended, and a config that names it."""
    with program_in(tmp_path, monkeypatch, capsys) as program:
        monkeypatch.delenv("BATCHCTL_STORE")
        monkeypatch.delenv("BATCHCTL_USER")
        configure(tmp_path, CONFIG)
        program.queue.add(3)
        for item in program.queue.claim(3):
            program.queue.complete(item)
        program("check")
        yield program


def configure(folder: Path, text: str) -> None:
    (folder / "batchctl.yaml").write_text(text)
    (folder / "batchctl.yaml").chmod(0o600)


def quick(*argv: str) -> bool:
    return idle.answer(argv or ["check"], os.environ)


def test_after_a_check_that_found_nothing_the_next_answers_at_once(program: Program) -> None:
    assert quick()
    assert quick("-q", "check", "--no-color")
    last = idle_note.last_check(program.queue.store.engine)
    assert last is not None
    assert time.time() * 1000 - last.ended_at < 60_000


def test_the_answer_is_that_of_the_full_check(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    full = program("check", "--json", "-v").json
    assert quick("check", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert answer | {"duration_ms": 0} == full | {"duration_ms": 0}


def new_batch(program: Program, folder: Path) -> None:  # noqa: ARG001 - the others need both
    program.queue.add(1)


def a_retry_is_due(program: Program, folder: Path) -> None:  # noqa: ARG001
    program.queue.add(1)
    (item,) = program.queue.claim()
    program.queue.claim()  # and nothing else
    program.queue.retry_later(item, at=program.queue.store.engine.now() - 1)


def a_schedule_opens(program: Program, folder: Path) -> None:  # noqa: ARG001
    clock = program.queue.store.engine.now
    opens = clock() + 40
    program.queue.add(1, not_before=opens)
    while clock() < opens:
        time.sleep(0.005)


def a_worker_died(program: Program, folder: Path) -> None:  # noqa: ARG001
    member = Membership(program.queue.store.engine, 60.0, 1, [])
    member.__enter__()
    assert member._presence is not None
    member._presence.leave()


def a_worker_has_left_files(program: Program, folder: Path) -> None:  # noqa: ARG001
    (folder / "queue.db.run/w0123456789abcdef.lock").touch()


def an_enqueue_died(program: Program, folder: Path) -> None:  # noqa: ARG001
    change("UPDATE batches SET status = 'loading', loader = 'lgone', completed_at = NULL")


def a_cancel_died(program: Program, folder: Path) -> None:  # noqa: ARG001
    change("UPDATE batches SET bulk = 'cancel', loader = 'lgone'")


def items_of_nobody(program: Program, folder: Path) -> None:  # noqa: ARG001
    program.queue.add(1)
    program.queue.claim(2)


def a_message_is_due(program: Program, folder: Path) -> None:  # noqa: ARG001
    change(
        "INSERT INTO outbox (event, target, message, next_attempt_at, created_at, expires_at)"
        " VALUES ('failed', 'x', x'', 1, 1, 9e15)",
    )


def an_alert_is_open(program: Program, folder: Path) -> None:  # noqa: ARG001
    change("INSERT INTO alerts (name, message, raised_at) VALUES ('low_disk', 'full', 1)")


def the_config_changed(program: Program, folder: Path) -> None:  # noqa: ARG001
    configure(folder, CONFIG + "\n")


def the_config_was_touched(program: Program, folder: Path) -> None:  # noqa: ARG001
    os.utime(folder / "batchctl.yaml")


def the_config_may_be_written_by_others(program: Program, folder: Path) -> None:  # noqa: ARG001
    (folder / "batchctl.yaml").chmod(0o622)


def the_config_is_gone(program: Program, folder: Path) -> None:  # noqa: ARG001
    (folder / "batchctl.yaml").unlink()


def a_config_nearer_by(program: Program, folder: Path) -> None:  # noqa: ARG001
    (folder / "inner").mkdir()
    os.chdir(folder / "inner")
    configure(folder / "inner", CONFIG.replace("queue.db", "../queue.db"))


def the_store_is_newer(program: Program, folder: Path) -> None:  # noqa: ARG001
    change("PRAGMA user_version = 99")


def the_store_is_gone(program: Program, folder: Path) -> None:  # noqa: ARG001
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (folder / name).unlink(missing_ok=True)


def the_note_is_broken(program: Program, folder: Path) -> None:  # noqa: ARG001
    (folder / "queue.db.run/check.json").write_text("{")


def the_clock_went_back(program: Program, folder: Path) -> None:  # noqa: ARG001
    path = folder / "queue.db.run/check.json"
    note = json.loads(path.read_text())
    note["idle"]["at"] += 3_600_000
    path.write_text(json.dumps(note))


def another_check_holds_its_lock(program: Program, folder: Path) -> None:  # noqa: ARG001
    assert program.queue.store.engine.take("check", "{}") is not None


CHANGES = [
    new_batch, a_retry_is_due, a_schedule_opens, a_worker_died, a_worker_has_left_files, an_enqueue_died, a_cancel_died,
    items_of_nobody, a_message_is_due, an_alert_is_open, the_config_changed, the_config_was_touched,
    the_config_may_be_written_by_others, the_config_is_gone, a_config_nearer_by, the_store_is_newer, the_store_is_gone,
    the_note_is_broken, the_clock_went_back, another_check_holds_its_lock,
]  # fmt: skip


def change(sql: str) -> None:
    with closing(sqlite3.connect("queue.db")) as connection, connection:
        connection.execute(sql)


@pytest.mark.parametrize("happens", CHANGES)
def test_what_happens_since_is_the_full_check_s_business(program: Program, tmp_path: Path, happens: Change) -> None:
    assert quick()
    happens(program, tmp_path)
    assert not quick()
    assert not (tmp_path / "elsewhere").exists()


def test_the_store_is_not_made_by_looking(program: Program, tmp_path: Path) -> None:
    the_store_is_gone(program, tmp_path)
    assert not quick()
    assert not (tmp_path / "queue.db").exists()


@pytest.mark.parametrize(
    "more",
    [
        "check: {ping: 'http://127.0.0.1:9/u'}",
        "check: {time_budget: '${BUDGET:-4m}'}",
        "env_file: '${ENV_FILE:-none}'",
        "check: {retention: {completed: 0s}}",
    ],
)
def test_with_such_a_config_there_is_always_something_to_look_at(program: Program, tmp_path: Path, more: str) -> None:
    configure(tmp_path, CONFIG + more)
    program("check")
    program("check")
    assert not quick()


def test_other_options_are_for_the_full_check(program: Program) -> None:  # noqa: ARG001 - it makes the store
    for argv in (["check", "-v"], ["check", "--nonsense"], ["check", "--org", "a"], ["run"], ["check", "--store"], []):
        assert not idle.answer(argv, os.environ)
    for name, value in (("CONCURRENCY", "many"), ("LOG_FORMAT", "xml"), ("USER", "a\nb")):
        assert not idle.answer(["check"], dict(os.environ) | {f"BATCHCTL_{name}": value})
    assert idle.answer(["check"], dict(os.environ) | {"BATCHCTL_LOG_FORMAT": "json", "BATCHCTL_USER": "ann"})


def test_a_store_that_was_named_is_another_matter(program: Program, tmp_path: Path) -> None:
    assert not quick("check", "--store", "queue.db")
    program("check", "--store", "queue.db")
    assert quick("check", "--store=queue.db")
    assert not quick()
    assert quick("--config", str(tmp_path / "batchctl.yaml"), "check", "--store", "queue.db")


@contextmanager
def living_worker(program: Program) -> Iterator[Membership]:
    with Membership(program.queue.store.engine, 60.0, 1, ["p"]) as member:
        yield member


def test_a_living_worker_and_what_waits_for_its_time_are_no_reason(program: Program) -> None:
    engine = program.queue.store.engine
    program.queue.add(1, not_before=engine.now() + 3_600_000)
    program.queue.add(1, name="paused")
    program("pause", "paused")
    with living_worker(program) as member:
        program("check")
        assert quick()
        assert not quick("check", "--json")  # which tells how many batches are unfinished
        member.inflight.close()
        change("UPDATE workers SET seen_monotonic = seen_monotonic - 61000")
        assert not quick()
        change("UPDATE workers SET seen_monotonic = seen_monotonic + 61000")
        assert quick()


@pytest.mark.parametrize("rule", ["queue_depth: 1000", "oldest_pending: 1h"])
def test_rules_about_the_queue_are_looked_at_while_there_is_one(program: Program, tmp_path: Path, rule: str) -> None:
    configure(tmp_path, f"{CONFIG}check: {{alerts: {{{rule}}}}}")
    program("check")
    assert quick()
    program.queue.add(1, not_before=program.queue.store.engine.now() + 3_600_000)
    program("check")
    assert not quick()


def test_a_rule_about_failures_is_looked_at_when_something_ended(program: Program, tmp_path: Path) -> None:
    configure(tmp_path, f"{CONFIG}check: {{alerts: {{failure_rate: 20%}}}}")
    change("UPDATE attempt_minutes SET minute = minute - 7200000")
    program("check")
    assert quick()
    program.queue.add(1)
    (item,) = program.queue.claim(2)
    program.queue.complete(item)
    assert not quick()


def test_a_full_disk_is_the_full_check_s_business(program: Program, tmp_path: Path) -> None:
    assert program("check").err == ""
    note = tmp_path / "queue.db.run/check.json"
    facts = json.loads(note.read_text())
    facts["idle"]["min_free"] = 1 << 60
    note.write_text(json.dumps(facts))
    assert not quick()


def test_the_program_is_not_loaded(cli: Cli) -> None:
    cli.config(CONFIG)
    cli.ok("enqueue", "orders", "--id", "1", "-p", "p", "--run", "-q")
    cli.ok("check")
    command = [sys.executable, "-X", "importtime", "-m", "batchctl", "check"]
    done = subprocess.run(command, cwd=cli.folder, env=cli.environment(), capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "batchctl.idle" in loaded
    assert "sqlite3" in loaded
    assert not loaded & {"typer", "click", "yaml", "msgspec", "rich", "dataclasses", "batchctl.cli", "batchctl.config"}
