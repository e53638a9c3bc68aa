"""`check` killed in each of its phases, or told to end: the next one goes on, and nothing is done twice."""

from __future__ import annotations

import json
import signal

import pytest
from servers import Answer, HttpServer

from e2e.checkkit import ZERO, check, configure, locked, notify
from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, die, eventually, finish, kill9

CLEANUP = [
    ("batchctl.retention:delete_batch", "before"),  # nobody sees the batch any more; all of it is there
    ("batchctl.transitions.deleting:_chunk", "after"),  # a part of its items is gone
    ("batchctl.transitions.deleting:_rest", "before"),  # its row is left
]
ALERTS = [
    ("batchctl.transitions.alerts:announce_alert", "after"),  # within the commit
    ("batchctl.alerting:_change", "after"),  # it is in the store, its message is not sent
]


def test_killed_while_it_drains(scene: Scene) -> None:
    scene.enqueue([{"id": n, "hold": "never", "holds": 1} for n in (1, 2)] + [{"id": 3}])
    first = check(scene)
    scene.holds(2)
    kill9(first)
    answer = scene.cli.json("check")
    assert (answer["recovered_items"], answer["drained"]["completed"]) == (2, 3)
    audit(scene)


def test_killed_while_it_tells_the_monitor(scene: Scene) -> None:
    """At its start, at its end: the locks are free, and nothing is done twice."""
    with HttpServer() as server:
        configure(scene, ping={"url": f"{server.url}/hc", "timeout": "30s"})
        scene.enqueue(2)
        for asked, answers in ((1, [Answer(hold=True)]), (3, [Answer(), Answer(hold=True)])):
            server.script(*answers)
            process = check(scene)
            server.wait(asked)
            kill9(process)
        assert scene.states() == {"completed": 2}
        server.release()
        assert scene.cli.json("check")["skipped"] is None
        assert len(scene.ran()) == 2
        audit(scene)


def test_killed_while_it_finishes_what_was_interrupted(scene: Scene) -> None:
    """A cancel of many items is left half-way; the check that takes it over dies, too."""
    batch = scene.enqueue(30_000)
    cancel = scene.cli.start("cancel", batch)
    scene.started.append(cancel)
    eventually(lambda: scene.value("SELECT cancelled_items FROM batches"), "some are cancelled")
    kill9(cancel)
    before = scene.value("SELECT cancelled_items FROM batches")
    if scene.value("SELECT bulk FROM batches") is None:
        pytest.skip("it was done before it could be killed")
    first = check(scene)
    eventually(lambda: scene.value("SELECT cancelled_items FROM batches") > before or first.poll() is not None)
    kill9(first)
    scene.cli.ok("check")
    assert scene.states() == {"cancelled": 30_000}
    audit(scene)


def test_killed_while_it_recovers(scene: Scene) -> None:
    """An orphan that ignores TERM holds recovery up; the next check begins anew."""
    scene.enqueue([{"id": 1, "hold": "never", "holds": 1, "stubborn": True, "child": True}])
    worker = scene.worker()
    scene.holds(1)
    kill9(worker)
    first = check(scene)
    locked(scene, "check")
    kill9(first)
    assert scene.states() == {"processing": 1}
    answer = scene.cli.json("check")
    assert (answer["recovered_items"], answer["drained"]["completed"]) == (1, 1)
    audit(scene)


def test_killed_while_it_sends_messages(scene: Scene) -> None:
    with HttpServer() as server:
        notify(scene, server)
        scene.enqueue(1)
        server.script(Answer(hold=True))
        first = check(scene)
        server.wait(1)
        kill9(first)
        assert scene.states() == {"completed": 1}
        answer = scene.cli.json("check")
        assert (answer["notifications"], answer["drained"]) == ({"sent": 1, "failed": 0}, ZERO)
        assert scene.cli.json("check")["notifications"] == {"sent": 0, "failed": 0}
        audit(scene)


@pytest.mark.parametrize(("point", "moment"), CLEANUP)
def test_killed_while_it_cleans_up(scene: Scene, point: str, moment: str) -> None:
    with HttpServer() as server:
        notify(scene, server, retention={"cancelled": "1ms"})
        scene.cli.ok("cancel", scene.enqueue(300), "-y")
        scene.enqueue(1, "--name", "kept")
        scene.enqueue([{"id": 1}], "--name", "paused")
        scene.cli.ok("pause", "paused")
        die(scene, point, moment, 1, "check")
        answer = scene.cli.json("check")
        assert (answer["skipped"], answer["drained"], answer["notifications"]) == (None, ZERO, {"sent": 0, "failed": 0})
        assert len(server.requests) == 1, "the end of the batch that is kept"
    assert scene.rows("SELECT name, status, total_items FROM batches ORDER BY no") == [
        ("kept", "completed", 1),
        ("paused", "pending", 1),
    ]
    assert scene.states() == {"completed": 1, "pending": 1}
    for table in ("item_data", "events"):
        gone = "item_id NOT IN (SELECT id FROM items)"
        assert scene.value(f"SELECT count(*) FROM {table} WHERE {gone}") == 0  # noqa: S608 - names from here
    assert scene.value("SELECT count(*) FROM events WHERE batch_no NOT IN (SELECT no FROM batches)") == 0
    audit(scene, finished=False)


@pytest.mark.parametrize(("point", "moment"), ALERTS)
def test_killed_while_it_raises_or_clears_an_alert(scene: Scene, point: str, moment: str) -> None:
    with HttpServer() as server:
        notify(scene, server)
        batch = scene.enqueue(3)
        scene.cli.ok("pause", batch)
        die(scene, point, moment, 1, "check")
        assert [alert["name"] for alert in scene.cli.json("check")["alerts"]] == ["queue_depth"]
        assert len(server.requests) == 1
        scene.cli.ok("cancel", batch, "-y")
        die(scene, point, moment, 1, "check")
        assert scene.cli.json("check")["alerts"] == []
        titles = [request.json()["title"] for request in server.requests]
    assert titles == [f"{word}: 3 items are in the queue, more than 2" for word in ("alert", "over")]
    assert scene.rows("SELECT name, cleared_at IS NOT NULL FROM alerts") == [("queue_depth", True)]
    assert scene.rows("SELECT state, count(*) FROM outbox WHERE event = 'alert' GROUP BY state") == [("sent", 2)]
    audit(scene)


# -- signals


def test_a_signal_ends_it_and_items_go_back(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("grace: 30s", "grace: 0s"))
    scene.enqueue([{"id": 1, "hold": "never", "holds": 1}])
    process = check(scene, "--json")
    scene.holds(1)
    process.send_signal(signal.SIGTERM)
    out, _ = finish(process, 143)
    assert json.loads(out)["success"] is False
    assert scene.states() == {"pending": 1}


def test_a_signal_ends_one_that_waits_beyond_its_budget(scene: Scene) -> None:
    scene.cli.config(f"{CONFIG.replace('grace: 30s', 'grace: 0s')}check: {{time_budget: 1s}}\n")
    scene.enqueue([{"id": 1, "hold": "never", "holds": 1}])
    process = check(scene)
    scene.holds(1)
    phases = locked(scene, "check")
    eventually(lambda: not phases.exists(), "the budget is spent")
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    assert scene.states() == {"pending": 1}
