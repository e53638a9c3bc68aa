"""Sessions of workers on PostgreSQL are ended at random; who is idle hears what comes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Cli
from databases import postgres

from batchctl.store import Store
from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish

_HEARD = 1_000_000_000  # what `changed` adds for a notification
_NOTE = """
import os
def call(item, context):
    fd = os.open("called", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"%d\\n" % item.number)
    os.close(fd)
"""
_PATIENT = """
import sys
import batchctl.claims, batchctl.worker
from batchctl.cli import run
from batchctl.engines import postgres
batchctl.claims.POLL = batchctl.worker._SOON = postgres._POLL = 86_400.0
sys.exit(run(["run", "--forever", "-j", "1"]))
"""


@pytest.fixture
def scene(cli: Cli) -> Iterator[Scene]:
    with postgres(cli.folder) as database:
        cli.store = database.url
        cli.config(CONFIG)
        (cli.folder / "work.py").write_text(_NOTE)
        here = Scene(cli, database)
        yield here
        here.close()


def test_sessions_are_ended_at_random_while_many_drain(scene: Scene) -> None:
    """None of 16 workers gives up, and each item is done once."""
    scene.enqueue(600, processor="call")
    workers = [scene.worker("-j", "1") for _ in range(16)]
    dice = random.Random(16)  # noqa: S311 - dice, not secrets
    name = urlsplit(scene.database.url).path.strip("/")
    end_it = "SELECT pg_terminate_backend(?)"
    ended, seen = 0, 0
    with scene.database.eyes() as look:
        while any(worker.poll() is None for worker in workers):
            mine = "SELECT pid FROM pg_stat_activity WHERE datname = ? AND application_name LIKE 'batchctl %'"
            sessions = [pid for (pid,) in look(mine, name)]
            done = len(scene.lines("called"))
            if sessions and done > seen:  # they have come further, so it goes on
                look(end_it, dice.choice(sessions))
                ended, seen = ended + 1, done
    for worker in workers:
        finish(worker, 0)
    assert ended > 2
    assert len(scene.lines("called")) == len(set(scene.lines("called"))) == 600
    assert scene.rows("SELECT outcome, count(*) FROM attempts GROUP BY 1") == [("completed", 600)]
    audit(scene)


def test_who_is_idle_hears_what_is_enqueued(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its counter rises by what it heard, not only by the seconds that go by."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    idle = Store.open(scene.database.url, create=False)
    heard = idle.engine.changed() // _HEARD
    scene.cli.ok("list")
    assert idle.engine.changed() // _HEARD == heard
    scene.enqueue(1, processor="call")
    eventually(lambda: idle.engine.changed() // _HEARD > heard, "it has heard")
    idle.close()


def test_an_idle_worker_begins_when_it_hears_of_work(scene: Scene) -> None:
    """It hears of it from the server: it would not look by itself within the time of this test."""
    program = [sys.executable, "-c", _PATIENT]
    worker = subprocess.Popen(program, cwd=scene.folder, env=scene.cli.environment(), stderr=subprocess.DEVNULL)
    scene.started.append(worker)
    for _ in range(2):  # the first may come before the worker is idle
        batch = scene.enqueue(1, processor="call")
        eventually(lambda batch=batch: scene.show(batch)["batch"]["status"] == "completed", "it has recorded")
    worker.terminate()
    assert worker.wait(60) == 143
