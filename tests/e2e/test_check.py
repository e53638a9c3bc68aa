"""`check` with real processes: it drains, recovers, tells, and says what it did."""

from __future__ import annotations

import os
import signal

from servers import HttpServer

from e2e.checkkit import ZERO, configure, notify
from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, finish, kill9


def test_it_drains_and_says_what_it_did(scene: Scene) -> None:
    scene.enqueue([{"id": 1}, {"id": 2, "exit": 65}, {"id": 3}])
    answer = scene.cli.json("check")
    took = answer.pop("duration_ms")
    assert answer == {
        "success": True,
        "processed_batches": 1,
        "completed_batches": 1,
        "message": "Processed 1 batch, 1 newly completed",
        "recovered_items": 0,
        "drained": {"completed": 2, "failed": 1, "retried": 0},
        "remote": {"submitted_batches": 0, "polled_batches": 0, "ingested_items": 0},
        "notifications": {"sent": 0, "failed": 0},
        "deleted_batches": 0,
        "alerts": [],
        "skipped": None,
        "errors": [],
    }
    assert took > 0
    audit(scene)
    for _ in range(3):  # nothing due: not a word
        done = scene.cli.run("check")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scene.cli.json("check")["drained"] == ZERO


def test_failed_items_and_a_spent_budget_are_no_failure_of_the_check(scene: Scene) -> None:
    configure(scene, time_budget="0s")
    scene.enqueue([{"id": 1, "exit": 65}])
    assert scene.cli.json("check")["completed_batches"] == 0
    configure(scene)
    done = scene.cli.run("check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scene.states() == {"failed": 1}


def test_it_recovers_what_a_dead_worker_held(scene: Scene) -> None:
    scene.enqueue([{"id": n, "hold": "never", "holds": 1} for n in (1, 2)])
    worker = scene.worker("-j", "2")
    scene.holds(2)
    kill9(worker)
    answer = scene.cli.json("check")
    assert (answer["recovered_items"], answer["drained"]["completed"]) == (2, 2)
    audit(scene)


def test_a_suspended_worker_is_ended_and_recovered(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("lease: 60s", "lease: 5s"))
    scene.enqueue([{"id": 1, "hold": "never", "holds": 1}])
    worker = scene.worker()
    scene.holds(1)
    os.kill(worker.pid, signal.SIGSTOP)
    assert scene.cli.json("check")["recovered_items"] == 0  # it has only just stopped
    scene.change("UPDATE workers SET seen_monotonic = seen_monotonic - 10000")
    answer = scene.cli.json("check")
    assert (answer["recovered_items"], answer["drained"]["completed"]) == (1, 1)
    finish(worker, -signal.SIGKILL)
    audit(scene)


def test_each_alert_is_one_message_when_raised_and_one_when_cleared(scene: Scene) -> None:
    with HttpServer() as server:
        notify(scene, server)
        batch = scene.enqueue(3)
        scene.cli.ok("pause", batch)
        assert scene.cli.json("check")["notifications"]["sent"] == 1
        assert scene.cli.json("check")["notifications"]["sent"] == 0
        assert b"more than 2" in server.requests[-1].body
        scene.cli.ok("cancel", batch, "-y")
        assert scene.cli.json("check")["notifications"]["sent"] == 1
        assert len(server.requests) == 2
        scene.cli.ok("check")
        assert len(server.requests) == 2
