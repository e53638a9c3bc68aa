"""Promise 4 with a real receiver that goes away and comes back."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from conftest import Cli
from servers import Answer, HttpServer, Recorded, free_port

from e2e.kit import Scene, audit, eventually, finish, kill9

CONFIG = """
store: q.db
worker: {concurrency: 4, min_free: 0}
processors:
  deed:
    http: {method: POST, url: "%s", json: {id: "{{ id }}"}}
    max_retries: %d
    backoff: {base: 0.05s, factor: 1}
    max_failures: %s
check: {alerts: {outage: 0s}}
"""


def down_until(switch: Callable[[], bool]) -> Callable[[Recorded], Answer]:
    return lambda request: Answer(200, {"done": request.json()["id"]}) if switch() else Answer(503)


def test_an_outage_costs_no_attempts_and_ends_by_itself(scene: Scene) -> None:
    """Items run, the server goes, two workers wait, it comes back: all are completed by their first try that counts."""
    up = [True]
    with HttpServer() as server:
        server.answers(down_until(lambda: up[0]))
        scene.cli.config(CONFIG % (server.url, 3, 50))
        scene.enqueue(5)
        scene.drain()
        up[0] = False
        batch = scene.enqueue(40)
        workers = [scene.worker(), scene.worker()]
        scene.wait_for("outage")
        eventually(lambda: scene.item(f"{batch}/40")["waiting_for"] == "outage", "what never ran shows why it waits")
        assert scene.show(batch)["summary"]["failed"] == 0
        assert "costs no attempts" in scene.cli.ok("why", batch)
        (outage,) = scene.cli.json("stats")["outages"]
        assert (outage["processor"], outage["origin"]) == ("deed", server.url)
        eventually(lambda: scene.states().get("processing", 0) == 0, "what had been under way has come back")
        assert [one["name"] for one in scene.cli.json("check")["alerts"]] == ["outage"]
        before = len(server.requests)
        up[0] = True
        for worker in workers:
            finish(worker, 0)
        assert scene.show(batch)["summary"]["completed"] == 40
        assert scene.cli.json("check")["alerts"] == []
    tried = Counter(request.json()["id"] for request in server.requests[before:])
    assert set(tried.values()) == {1}
    assert scene.rows("SELECT DISTINCT attempts_used FROM items") == [(1,)]
    assert scene.value("SELECT count(*) FROM attempts WHERE counted = 1") == 45
    assert scene.value("SELECT count(*) FROM attempts WHERE outcome = 'outage'") == before - 5
    assert scene.cli.json("stats")["outages"] == []
    audit(scene)


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["of all", "of the item"])
def test_who_probes_is_killed(scene: Scene, origin: str) -> None:
    """The item goes back, somebody else's probe finds the receiver up again, all go on; none of it costs an attempt."""
    answer = [Answer(503)]
    with HttpServer() as server:
        server.answers(lambda _: answer[0])
        scene.cli.config(CONFIG % (server.url if origin == "of all" else "http://127.0.0.1:{{ port }}/", 0, 50))
        scene.enqueue([{"id": n, "port": server.port} for n in range(1, 7)])
        first = scene.worker()
        scene.wait_for("outage")
        settled = "SELECT count(*) FROM outages WHERE out_since IS NOT NULL AND refund = 0"
        eventually(lambda: not scene.states().get("processing") and scene.value(settled), "what was sent has come back")
        before, answer[0] = len(server.requests), Answer(200, {"done": True}, hold=True)
        scene.change("UPDATE outages SET probe_at = ? WHERE out_since IS NOT NULL", time.time_ns() // 1_000_000)
        server.wait(before + 1)
        kill9(first)
        second = scene.worker()
        server.wait(before + 2)
        assert scene.states()["processing"] == 1
        server.release()
        finish(second, 0)
        assert len(server.requests) == before + 7
    assert scene.rows("SELECT DISTINCT state, attempts_used FROM items") == [("completed", 1)]
    assert scene.value("SELECT count(*) FROM outages WHERE troubled = 1") == 0
    audit(scene)


def test_one_receiver_of_several_is_down(cli: Cli) -> None:
    """Those of the other go on; those of the first are not sent in vain."""
    with HttpServer() as server:
        gone = free_port()
        url = "http://127.0.0.1:{{ port }}/"
        cli.config(CONFIG % (url, 3, 50))
        orders = [{"id": n, "port": gone if n % 2 else server.port} for n in range(1, 31)]
        (cli.folder / "orders.jsonl").write_text("".join(json.dumps(one) + "\n" for one in orders), encoding="utf-8")
        cli.ok("enqueue", "orders", "orders.jsonl", "-p", "deed")
        cli.run("run", "--no-wait", "--max-time", "3s")
        summary = cli.json("show", "latest")["summary"]
        assert (summary["completed"], summary["waiting"], summary["failed"]) == (15, 15, 0)
        (outage,) = cli.json("stats")["outages"]
        assert outage["origin"] == f"http://127.0.0.1:{gone}"
        assert "is down since" in cli.ok("why", "latest")


def test_a_command_that_finds_its_receiver_down(cli: Cli) -> None:
    """Exit 69; the failure limit does not count it."""
    cli.config(
        'store: q.db\nworker: {min_free: 0}\nprocessors:\n  deed:\n    command: [sh, -c, "test -e up || exit 69"]\n'
        "    max_retries: 0\n    max_failures: 3\n    backoff: {base: 0.05s}\n"
    )
    (cli.folder / "orders.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(8)), encoding="utf-8")
    cli.ok("enqueue", "orders", "orders.jsonl", "-p", "deed")
    cli.run("run", "--no-wait", "-j", "3")
    assert cli.json("show", "latest")["summary"] | {"total": 8} == {
        "total": 8,
        "pending": 0,
        "waiting": 8,
        "processing": 0,
        "submitted": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    }
    (cli.folder / "up").touch()
    cli.ok("resume", "--processor", "deed")
    cli.ok("run")
    assert cli.json("show", "latest")["batch"]["status"] == "completed"


def test_a_failure_limit_stops_the_batch(cli: Cli) -> None:
    cli.config(
        "store: q.db\nworker: {min_free: 0}\n"
        'processors:\n  deed:\n    command: [sh, -c, "exit 65"]\n    max_failures: 10%\n',
    )
    (cli.folder / "orders.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(50)), encoding="utf-8")
    cli.ok("enqueue", "orders", "orders.jsonl", "-p", "deed")
    assert cli.run("run", "-j", "1").returncode == 1
    batch = cli.json("show", "latest")["batch"]
    assert (batch["status"], batch["failed_items"] + batch["cancelled_items"]) == ("failed", 50)
    assert 5 <= batch["failed_items"] <= 6
    assert batch["error"].startswith("stopped after")
    assert "retry" in cli.ok("why", "latest")


def test_as_many_at_once_as_the_receiver_bears(cli: Cli) -> None:
    """It answers 429 to the fourth at a time: nobody pays for it with an attempt."""
    lock, running, most = threading.Lock(), [0], [0]

    def answer(_: Recorded) -> Answer:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            busy = running[0] > 3
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return Answer(429) if busy else Answer(200, {})

    with HttpServer() as server:
        server.answers(answer)
        cli.config(
            "store: q.db\nworker: {min_free: 0, concurrency: 16}\nprocessors:\n  deed:\n"
            f'    http: {{url: "{server.url}"}}\n    concurrency: auto\n    max_retries: 0\n'
            "    backoff: {base: 0.05s, factor: 1}\n"
        )
        (cli.folder / "orders.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(150)), encoding="utf-8")
        cli.ok("enqueue", "orders", "orders.jsonl", "-p", "deed")
        cli.ok("run")
    shown = cli.json("show", "latest")
    assert shown["summary"]["completed"] == 150
    assert shown["concurrency"]["auto"]
    assert 1 <= shown["concurrency"]["limit"] < 16
    assert 3 < most[0] < 12
