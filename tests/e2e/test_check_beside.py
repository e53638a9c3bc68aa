"""`check` beside itself, beside others, and beyond its budget."""

from __future__ import annotations

import json
import signal

import pytest
from servers import HttpServer

from e2e.checkkit import ZERO, check, configure, locked, older
from e2e.kit import Scene, audit, eventually, finish


def test_a_budget_ends_claims_and_never_work(scene: Scene) -> None:
    """The first check waits for its item, with the phases' lock free: another goes through them and does not drain."""
    configure(scene, time_budget="1s")
    scene.enqueue([{"id": n, "hold": "go"} for n in (1, 2)] + [{"id": 3}])
    first = check(scene, "--json")
    scene.holds(2)
    phases = locked(scene, "check")
    eventually(lambda: not phases.exists(), "the budget is spent")
    answer = scene.cli.json("check")
    assert (answer["skipped"], answer["processed_batches"], answer["drained"]) == (None, 1, ZERO)
    assert len(scene.ran()) == 2
    scene.touch("go")
    out, _ = finish(first, 0)
    assert json.loads(out)["drained"]["completed"] == 2
    assert scene.states() == {"completed": 2, "pending": 1}
    assert scene.cli.json("check")["completed_batches"] == 1
    audit(scene)


def test_the_one_that_waited_does_what_follows_from_its_items(scene: Scene) -> None:
    with HttpServer() as server:
        configure(scene, time_budget="1s", ping=f"{server.url}/hc")
        scene.enqueue([{"id": 1, "hold": "go"}])
        first = check(scene, "--json")
        scene.holds(1)
        phases = locked(scene, "check")
        eventually(lambda: not phases.exists(), "the budget is spent")
        scene.touch("go")
        out, _ = finish(first, 0)
        assert json.loads(out)["completed_batches"] == 1
        assert [request.path for request in server.requests] == ["/hc/start", "/hc"]


def test_a_second_check_beside_a_living_one_says_nothing(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}])
    first = check(scene)
    scene.holds(1)
    second = scene.cli.run("check")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert f"pid {first.pid}" in scene.cli.json("check")["skipped"]
    scene.touch("go")
    finish(first, 0)
    assert len(scene.ran()) == 1
    audit(scene)


@pytest.mark.parametrize("lock", ["check", "drain"])
def test_beside_an_overdue_one_it_warns(scene: Scene, lock: str) -> None:
    """Overdue: older than its budget, the timeout of what runs (60 s), and a minute."""
    configure(scene, time_budget="200s" if lock == "check" else "1s")
    budget = 200 if lock == "check" else 1
    scene.enqueue([{"id": 1, "hold": "go"}])
    first = check(scene)
    scene.holds(1)
    path = locked(scene, lock)
    if lock == "drain":
        eventually(lambda: not (scene.private / "check.lock").exists(), "the budget is spent")
    older(path, budget + 60 + 30)
    scene.cli.ok("check")
    older(path, 60)
    done = scene.cli.run("check")
    assert done.returncode == 1
    assert f"another check (pid {first.pid}) has been at it for" in done.stderr
    assert "batchctl workers" in done.stderr
    assert scene.cli.json("check", code=1)["errors"][0]["message"] in done.stderr
    scene.touch("go")
    finish(first, 0)


def test_checks_at_the_same_second_do_each_item_once(scene: Scene) -> None:
    """Those of two hosts, too."""
    scene.enqueue(30)
    checks = [check(scene, BATCHCTL_HOST_ID=host) for host in ("one", "two", "one", "two")]
    for process in checks:
        assert finish(process, 0) == ("", "")
    scene.cli.ok("check")
    assert scene.states() == {"completed": 30}
    assert len(scene.ran()) == 30
    audit(scene)


def test_beside_a_worker_service_it_does_no_harm(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}])
    service = scene.worker("--forever")
    eventually(lambda: scene.value("SELECT count(*) FROM workers"), "the service is there")
    scene.holds(1)
    scene.enqueue(20)
    for _ in range(2):
        scene.cli.ok("check")
    scene.touch("go")
    eventually(lambda: scene.states() == {"completed": 21}, "all is done")
    assert len(scene.ran()) == 21
    service.send_signal(signal.SIGTERM)
    finish(service)
    audit(scene)
