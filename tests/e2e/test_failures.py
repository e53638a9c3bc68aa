"""Retries and their pauses, permanent errors, timeouts, functions that misbehave: one item's attempt and no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish, serving

SLOW = CONFIG.replace("max_retries: 3}", "max_retries: 3, backoff: {base: 1h, factor: 3, max: 5h}}")


def _pause(scene: Scene) -> float:
    """Seconds between the end of the last try and the next one."""
    ended = scene.value("SELECT max(ended_at) FROM attempts")
    return float(scene.value("SELECT next_attempt_at FROM items") - ended) / 1000


def _make_due(scene: Scene) -> None:
    scene.change("UPDATE items SET next_attempt_at = 0 WHERE waiting_for = 'retry'")


def test_a_transient_error_is_tried_again_until_it_works(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "fail": 2}, {"id": 2}], processor="stubborn")
    answer = scene.drain()
    assert (answer["completed"], answer["failed"], answer["retried"]) == (2, 0, 2)
    shown = scene.cli.json("show", f"{batch}/1")
    assert [one["outcome"] for one in shown["attempts"]] == ["retry", "retry", "completed"]
    assert shown["attempts"][0]["error"]["message"] == "exit code 75: 1 is not ready"
    assert (shown["item"]["attempts"], shown["item"]["max_attempts"]) == (3, 4)
    assert [start["attempt"] for start in scene.ran() if start["key"] == "1"] == ["1", "2", "3"]
    audit(scene)


def test_out_of_retries_it_fails_with_its_error(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "fail": 9}], processor="stubborn")
    answer = scene.drain(code=1)
    assert (answer["failed"], answer["retried"]) == (1, 3)
    item = scene.item(f"{batch}/1")
    assert (item["state"], item["attempts"], item["error"]["permanent"]) == ("failed", 4, False)
    assert "is not ready" in item["error"]["message"]
    audit(scene)


def test_pauses_grow_and_have_an_end(scene: Scene) -> None:
    scene.cli.config(SLOW)
    scene.enqueue([{"id": 1, "fail": 9}], processor="stubborn")
    pauses = []
    for _ in range(3):
        scene.drain("--no-wait")
        pauses.append(round(_pause(scene) / 3600, 3))
        _make_due(scene)
    assert pauses == [1, 3, 5]
    assert scene.drain("--no-wait", code=1)["failed"] == 1
    audit(scene)


def test_a_command_says_when_to_come_back(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "say": "::retry-after 7200\n", "fail": 1}], processor="stubborn")
    scene.drain("--no-wait")
    assert _pause(scene) == pytest.approx(7200, abs=1)


@contextmanager
def _server(status: int, headers: dict[str, str]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield url


def test_a_server_says_when_to_come_back(scene: Scene) -> None:
    with _server(429, {"Retry-After": "7200"}) as url:
        post = f'  post: {{http: {{url: "{url}", json: {{a: 1}}}}, max_retries: 3}}\n'
        scene.cli.config(CONFIG + post)
        scene.enqueue(1, processor="post")
        scene.drain("--no-wait")
    assert _pause(scene) == pytest.approx(7200, abs=1)
    assert scene.states() == {"waiting": 1}


def test_a_server_that_refuses_is_final(scene: Scene) -> None:
    with _server(422, {}) as url:
        scene.cli.config(CONFIG + f'  post: {{http: {{url: "{url}", json: {{a: 1}}}}, max_retries: 3}}\n')
        batch = scene.enqueue(1, processor="post")
        scene.drain(code=1)
    item = scene.item(f"{batch}/1")
    assert (item["attempts"], item["error"]["permanent"]) == (1, True)
    audit(scene)


def test_exit_65_and_the_codes_that_were_named_are_final(scene: Scene) -> None:
    tool = f'["{sys.executable}", -I, -S, deed.py]'
    scene.cli.config(CONFIG + f"  picky: {{command: {tool}, max_retries: 3, permanent_exit_codes: [3]}}\n")
    batch = scene.enqueue([{"id": 1, "exit": 65}, {"id": 2, "exit": 3}, {"id": 3, "exit": 4}], processor="picky")
    scene.drain(code=1)
    assert [scene.item(f"{batch}/{n}")["attempts"] for n in (1, 2, 3)] == [1, 1, 4]
    assert [scene.item(f"{batch}/{n}")["error"]["permanent"] for n in (1, 2, 3)] == [True, True, False]
    audit(scene)


def test_a_timeout_ends_all_that_the_command_started(scene: Scene) -> None:
    tool = f'["{sys.executable}", -I, -S, deed.py]'
    scene.cli.config(CONFIG + f"  hasty: {{command: {tool}, timeout: 500ms}}\n")
    batch = scene.enqueue([{"id": 1, "child": True, "hold": "never"}, {"id": 2, "hold": "never"}], processor="hasty")
    scene.drain("-j", "2", code=1)
    scene.alone()
    assert {item["error"]["type"] for item in scene.show(batch)["items"]} == {"Timeout"}
    assert [item["attempts"] for item in scene.show(batch)["items"]] == [1, 1]
    audit(scene)


BAD_MANNERS = """
import ctypes, os, signal, sys
from batchctl import Permanent, Retry

def call(item, context):
    match item["do"]:
        case "loop":
            while True: pass
        case "exit": os._exit(0)
        case "crash": ctypes.string_at(0)
        case "kill": os.kill(os.getpid(), signal.SIGKILL)
        case "leave": sys.exit("bye")
        case "raise": raise ValueError("no such customer")
        case "give up": raise Permanent("the order is void")
        case "odd": return {1, 2}
        case "recurse": return call(item, context)
    return item["do"]
"""


def test_functions_that_misbehave_cost_their_own_attempts_and_no_more(scene: Scene) -> None:
    """While their neighbours, in the same interpreters, complete at the first try."""
    scene.cli.config(CONFIG.replace('"work:call"', '"work:call", timeout: 1s'))
    (scene.folder / "work.py").write_text(BAD_MANNERS)
    bad = ["loop", "exit", "crash", "kill", "leave", "raise", "give up", "odd", "recurse"]
    orders = [{"id": f"good{n}", "do": "well"} for n in range(40)]
    for n, deed in enumerate(bad):
        orders.insert(4 * n, {"id": deed, "do": deed})
    batch = scene.enqueue(orders, processor="call")
    answer = scene.drain("-j", "2", code=1)
    assert (answer["completed"], answer["failed"]) == (40, len(bad))
    items = {item["key"]: item for item in scene.cli.json("show", batch, "--limit", "100")["items"]}
    assert {item["attempts"] for key, item in items.items() if key.startswith("good")} == {1}
    tries = {key: (items[key]["attempts"], items[key]["error"]["type"]) for key in bad}
    assert tries == {
        "loop": (1, "Timeout"),
        "exit": (1, "ProcessDied"),
        "crash": (1, "ProcessDied"),
        "kill": (1, "ProcessDied"),
        "leave": (1, "ProcessDied"),
        "raise": (1, "ValueError"),
        "give up": (1, "Permanent"),
        "odd": (1, "ResultNotJson"),
        "recurse": (1, "RecursionError"),
    }
    assert scene.value("SELECT sum(suspect) FROM items") == 0
    assert "Segmentation fault" in scene.cli.ok("logs", f"{batch}/crash")
    audit(scene)


def test_a_function_says_when_to_come_back(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace('"work:call"', '"work:call", max_retries: 1'))
    (scene.folder / "work.py").write_text(
        "from batchctl import Retry\ndef call(item, context): raise Retry('busy', after='2h')\n"
    )
    scene.enqueue(1, processor="call")
    scene.drain("--no-wait")
    assert _pause(scene) == pytest.approx(7200, abs=1)


def test_a_function_is_ended_in_time_also_when_all_was_quiet_before(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace('"work:call"', '"work:call", timeout: 500ms'))
    (scene.folder / "work.py").write_text("def call(item, context):\n    while item['id'] == 2: pass\n")
    scene.enqueue(1, processor="call")
    service = scene.worker("--forever")
    eventually(lambda: scene.states() == {"completed": 1})
    scene.enqueue([{"id": 2}], processor="call")
    eventually(lambda: scene.states() == {"completed": 1, "failed": 1}, "its time is over")
    service.terminate()
    finish(service, 143)
    audit(scene)
