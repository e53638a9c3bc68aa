"""Lanes and rates as the receiver sees them: a real server measures what three workers send, one of which is killed."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from itertools import cycle, islice
from threading import Event, Lock
from typing import Any

from e2e.kit import Scene, audit, eventually, finish, kill9, serving


class Receiver:
    """What came when, by account; how many of an account were there at once. `gate` keeps answers back."""

    def __init__(self) -> None:
        self.came: list[tuple[float, str, int]] = []
        self.most: dict[str, int] = defaultdict(int)
        self.gate = Event()
        self.gate.set()
        self._inside: dict[str, int] = defaultdict(int)
        self._lock = Lock()

    def take(self, order: dict[str, Any]) -> None:
        account = order["account"]
        with self._lock:
            self.came.append((time.monotonic(), account, order["id"]))
            self._inside[account] += 1
            self.most[account] = max(self.most[account], self._inside[account])
        self.gate.wait(30)
        time.sleep(0.005)  # so that two at once can be seen
        with self._lock:
            self._inside[account] -= 1

    def order_of(self, account: str) -> list[int]:
        """The first time that each order of an account came."""
        return list(dict.fromkeys(number for _, name, number in self.came if name == account))

    def busiest(self, seconds: float, account: str | None = None) -> int:
        """The most that came within so many seconds."""
        times = [at for at, name, _ in self.came if account in (None, name)]
        return max(sum(begin <= at < begin + seconds for at in times) for begin in times)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                receiver.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                try:
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    self.close_connection = True  # who asked is gone

            def log_message(self, *_: object) -> None:
                """Nothing on the screen."""

        return Handler


@contextmanager
def receiver(scene: Scene, policy: str) -> Iterator[Receiver]:
    """A server and a config that sends to it."""
    found = Receiver()
    with serving(found.handler()) as url:
        scene.cli.config(f"""
store: {scene.database.url}
worker: {{lease: 2s, min_free: 0}}
processors:
  send:
    http: {{method: POST, url: "{url}", json: {{id: "{{{{ id }}}}", account: "{{{{ account }}}}"}}}}
    {policy}
""")
        try:
            yield found
        finally:
            found.gate.set()


def orders(count: int, accounts: str) -> list[dict[str, Any]]:
    return [{"id": n, "account": account} for n, account in enumerate(islice(cycle(accounts), count), 1)]


def test_three_workers_one_of_them_killed_keep_each_lane_single_and_in_order(scene: Scene) -> None:
    with receiver(scene, "lane: {field: account}") as found:
        scene.enqueue(orders(60, "ABCDE"), processor="send")
        found.gate.clear()
        workers = [scene.worker("-j", "2") for _ in range(3)]
        eventually(lambda: len(found.came) >= 5, "every lane has one running")
        held = len(found.came)
        assert held == 5
        kill9(workers.pop())
        found.gate.set()
        for worker in workers:
            finish(worker, 0)
        assert {account: found.most[account] for account in "ABCDE"} == dict.fromkeys("ABCDE", 1)
        for start, account in enumerate("ABCDE", 1):
            assert found.order_of(account) == list(range(start, 61, 5))
        assert len(found.came) <= 60 + 2  # the killed worker's are sent again
    audit(scene)


def test_a_lane_takes_as_many_at_once_as_it_may(scene: Scene) -> None:
    with receiver(scene, "lane: {field: account, concurrency: 2}") as found:
        scene.enqueue(orders(12, "AB"), processor="send")
        found.gate.clear()
        workers = [scene.worker("-j", "4") for _ in range(2)]
        eventually(lambda: len(found.came) >= 4, "two of each lane run")
        found.gate.set()
        for worker in workers:
            finish(worker, 0)
        assert dict(found.most) == {"A": 2, "B": 2}
    audit(scene)


def test_a_processors_rate_holds_for_three_workers_together(scene: Scene) -> None:
    with receiver(scene, "rate: 20/s") as found:
        scene.enqueue(orders(60, "A"), processor="send")
        workers = [scene.worker("-j", "4") for _ in range(3)]
        for worker in workers:
            finish(worker, 0)
        assert len(found.came) == 60
        assert found.came[-1][0] - found.came[0][0] > 59 / 20 - 0.5
        assert found.busiest(1.0) <= 20 + 4  # what a busy machine delays by a moment
    audit(scene)


def test_a_lanes_rate_holds_while_other_lanes_go_on(scene: Scene) -> None:
    with receiver(scene, "lane: {field: account, rate: 5/s}") as found:
        scene.enqueue(orders(16, "AB"), processor="send")
        workers = [scene.worker("-j", "4") for _ in range(2)]
        for worker in workers:
            finish(worker, 0)
        for account in "AB":
            times = [at for at, name, _ in found.came if name == account]
            assert len(times) == 8
            assert times[-1] - times[0] > 7 / 5 - 0.3
            assert found.busiest(1.0, account) <= 5 + 2
    audit(scene)


def test_check_goes_on_at_the_pace_of_a_rate(scene: Scene) -> None:
    with receiver(scene, "rate: 20/s") as found:
        scene.enqueue(orders(10, "A"), processor="send")
        document = scene.cli.json("check")
        assert document["drained"]["completed"] == 10
        assert found.busiest(0.2) <= 4 + 3
    audit(scene)


def test_a_failed_item_holds_its_lane_and_run_says_what_is_left(scene: Scene) -> None:
    scene.cli.config(f"""
store: {scene.database.url}
worker: {{min_free: 0}}
processors:
  refuse:
    command: [sh, -c, "test $BATCHCTL_ITEM_KEY != 1 || exit 65"]
    lane: {{field: account, on_failure: hold}}
""")
    batch = scene.enqueue(orders(4, "AB"), processor="refuse")
    assert scene.drain(code=3)["unfinished_items"] == 1
    shown = scene.cli.json("show", batch, "--by", "lane")
    assert [(lane["lane"], lane["completed_items"], lane["failed_items"], lane["held_by"] is not None)
            for lane in shown["lanes"]] == [("A", 0, 1, True), ("B", 2, 0, False)]  # fmt: skip
    assert shown["lanes"][0]["next"]["key"] == "3"
    assert "is held since item" in scene.cli.ok("why", f"{batch}/3")
    assert "resume" in scene.cli.ok("why", batch)
    scene.cli.ok("resume", batch)
    scene.drain(code=0)
    audit(scene)


def test_run_ends_where_a_batch_that_nobody_works_on_goes_first(scene: Scene) -> None:
    scene.cli.config(f"""
store: {scene.database.url}
worker: {{min_free: 0}}
processors:
  send: {{command: [true], lane: {{field: account}}}}
""")
    older = scene.enqueue(orders(2, "AB"), processor="send")
    newer = scene.enqueue(orders(4, "ABC"), processor="send")
    ended = scene.cli.run("run", newer)
    assert ended.returncode == 3
    assert f"batch {newer} waits for batch {older}, which goes first in its lane A and 1 more" in ended.stderr
    assert scene.states() == {"completed": 1, "pending": 2, "waiting": 3}  # lane C was free
    assert f"`batchctl run {older}` does that" in scene.cli.ok("why", newer)
    assert scene.drain(newer, older)["completed"] == 5
    audit(scene)
