"""`check` with real processes: beside itself and others, with a budget, killed in its phases, with a monitor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Answer, HttpServer, free_port

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish, kill9

ZERO = {"completed": 0, "failed": 0, "retried": 0}


def check(scene: Scene, *args: str, **env: str) -> subprocess.Popen[str]:
    process = scene.cli.start("check", *args, **env)
    scene.started.append(process)
    return process


def configure(scene: Scene, **keys: object) -> None:
    """The scene's config with `check:`."""
    scene.cli.config(f"{CONFIG}check: {json.dumps(keys)}\n")


def locked(scene: Scene, name: str) -> Path:
    """The file of that lock, once somebody has it."""
    path = scene.private / f"{name}.lock"
    eventually(lambda: path.exists() and path.stat().st_size, f"somebody has the lock {name}")
    return path


def older(path: Path, seconds: float) -> None:
    """Make the check that has this lock older."""
    facts = json.loads(path.read_text())
    facts["began"] -= round(seconds * 1000)
    path.write_text(json.dumps(facts))


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


def notify(scene: Scene, server: HttpServer) -> None:
    """A target that wants every end and every alert."""
    place = server.url.removeprefix("http://")
    targets = [{"to": f"json://{place}/hook", "events": ["completed", "failed", "alert"]}]
    scene.cli.config(f"{CONFIG}notifications: {json.dumps(targets)}\ncheck: {{alerts: {{queue_depth: 2}}}}\n")


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


# -- the monitor


@pytest.fixture
def monitor() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def pings(server: HttpServer) -> list[str]:
    return [request.path for request in server.requests]


def test_the_monitor_hears_of_each_check(scene: Scene, monitor: HttpServer) -> None:
    configure(scene, ping=f"{monitor.url}/uuid/")
    scene.enqueue(1)
    scene.cli.ok("check")
    scene.cli.ok("check")
    assert pings(monitor) == ["/uuid/start", "/uuid/", "/uuid/start", "/uuid/"]
    assert monitor.requests[1].body == b"Processed 1 batch, 1 newly completed"


def test_the_monitor_hears_exit_codes_where_it_wants_them(scene: Scene, monitor: HttpServer) -> None:
    configure(scene, ping={"url": f"{monitor.url}/u?x=1", "start": False, "exit_status": True})
    scene.cli.ok("check")
    assert [request.target for request in monitor.requests] == ["/u/0?x=1"]


def test_a_monitor_that_fails_only_warns(scene: Scene, monitor: HttpServer) -> None:
    scene.enqueue(1)
    hidden = "uuid-that-nobody-may-see"
    for url in (f"http://127.0.0.1:{free_port()}/{hidden}", f"{monitor.url}/{hidden}"):
        monitor.default = Answer(500)
        configure(scene, ping=url)
        done = scene.cli.run("check")
        assert done.returncode == 0
        assert "warning: check.ping: 127.0.0.1" in done.stderr
        assert hidden not in done.stderr
    assert scene.states() == {"completed": 1}


def test_a_monitor_that_does_not_answer_delays_it_for_a_moment_only(scene: Scene, monitor: HttpServer) -> None:
    monitor.default = Answer(hold=True)
    configure(scene, ping={"url": monitor.url, "timeout": "200ms"})
    scene.enqueue(1)
    done = scene.cli.run("check")
    assert (done.returncode, done.stderr.count("takes too long")) == (0, 1)
    assert scene.states() == {"completed": 1}


def test_an_unusable_store_is_told_to_the_monitor_without_the_store(file_scene: Scene, monitor: HttpServer) -> None:
    configure(file_scene, ping=f"{monitor.url}/u")
    file_scene.store.write_bytes(b"this is no database" * 100)
    done = file_scene.cli.run("check")
    assert done.returncode == 5
    assert "restore a backup" in done.stderr
    assert pings(monitor) == ["/u/fail"]
    assert b"not a batchctl store" in monitor.requests[0].body


def test_a_disk_with_too_little_space_claims_nothing_and_tells(scene: Scene, monitor: HttpServer) -> None:
    scene.enqueue(1)
    scene.cli.config(f"{CONFIG.replace('min_free: 0', 'min_free: 900000GB')}check: {{ping: '{monitor.url}/u'}}\n")
    done = scene.cli.run("check")
    assert done.returncode == 5
    assert "worker.min_free" in done.stderr
    assert "free some space" in done.stderr
    assert pings(monitor) == ["/u/start", "/u/fail"]
    assert (scene.states(), scene.ran()) == ({"pending": 1}, [])
    (alert,) = scene.cli.json("check", code=5)["alerts"]
    assert alert["name"] == "low_disk"
    scene.cli.config(CONFIG)
    assert scene.cli.json("check")["drained"]["completed"] == 1
    assert scene.cli.json("check")["alerts"] == []


def test_a_store_that_is_gone_is_not_passed_over_in_silence(file_scene: Scene, monitor: HttpServer) -> None:
    configure(file_scene, ping=f"{monitor.url}/u")
    file_scene.enqueue(1)
    assert file_scene.cli.run("check").returncode == 0
    for path in file_scene.store.parent.glob(f"{file_scene.store.name}*"):
        if path.is_file():
            path.unlink()
    done = file_scene.cli.run("check")
    assert done.returncode == 5
    assert f"the store {file_scene.store} is gone" in done.stderr
    assert pings(monitor) == ["/u/start", "/u", "/u/fail"]
    assert not file_scene.store.exists()


def test_without_a_store_there_is_nothing_to_do(scene: Scene, monitor: HttpServer) -> None:
    configure(scene, ping=f"{monitor.url}/u")
    done = scene.cli.run("--store", "elsewhere.db", "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (scene.folder / "elsewhere.db").exists()
    assert pings(monitor) == ["/u/start", "/u"]
