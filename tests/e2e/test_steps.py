"""Chains of steps in real workers: through kills, stops, retries and changes of the config."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish, kill9

STEP = """
import json, os, sys, time
from pathlib import Path
step = sys.argv[1]
order = json.load(sys.stdin)
key = str(order["id"])
fd = os.open("steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(fd, (json.dumps([step, key, os.environ["BATCHCTL_ITEM_IDEMPOTENCY_KEY"]]) + "\\n").encode())
if step == order.get("hold"):
    while not Path("go").exists():
        time.sleep(0.01)
if step == order.get("fail") and not Path("mended").exists():
    sys.exit(75)
time.sleep(order.get("sleep", 0))
os.write(fd, (json.dumps(["end of " + step, key, ""]) + "\\n").encode())
print(json.dumps({"step": step, "key": key}))
"""
CHAIN = f"""
  chain:
    steps:
      - {{name: one, command: ["{sys.executable}", -I, -S, step.py, one]}}
      - {{name: two, command: ["{sys.executable}", -I, -S, step.py, two], fallback: {{python: "work:call"}}}}
      - {{name: three, command: ["{sys.executable}", -I, -S, step.py, three, "{{{{ steps.two.key }}}}"]}}
"""
CALL = """
import json
def call(item, context):
    with open("steps", "a") as file:
        file.write(json.dumps(["fallback", str(item["id"]), context.idempotency_key]) + "\\n")
    return {"step": "fallback", "key": str(item["id"]), "after": list(item.steps)}
"""


@pytest.fixture(autouse=True)
def chain(scene: Scene) -> None:
    scene.cli.config(CONFIG + CHAIN)
    (scene.folder / "step.py").write_text(STEP)
    (scene.folder / "work.py").write_text(CALL)


def steps(scene: Scene, key: str = "1") -> list[str]:
    return [step for step, whose, _ in map(json.loads, scene.lines("steps")) if whose == key]


def enqueue(scene: Scene, *orders: dict[str, Any]) -> str:
    return scene.enqueue(list(orders), processor="chain")


def pending(pid: int) -> bool:
    """Whether a signal is on its way to that process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))


def done(*names: str) -> list[str]:
    return [line for name in names for line in (name, f"end of {name}")]


def test_a_worker_killed_in_the_second_step_does_not_do_the_first_again(scene: Scene) -> None:
    enqueue(scene, {"id": 1, "hold": "two"})
    worker = scene.worker()
    eventually(lambda: steps(scene)[-1:] == ["two"], "the second step")
    kill9(worker)
    assert [step["name"] for step in scene.item(1)["steps"]] == ["one"]
    worker = scene.worker()
    eventually(lambda: steps(scene) == [*done("one"), "two", "two"], "the second step, again")
    scene.touch("go")
    finish(worker, 0)
    assert steps(scene) == [*done("one"), "two", *done("two", "three")]
    item = scene.item(1)
    assert item["result"] == {"step": "three", "key": "1"}
    assert [step["name"] for step in item["steps"]] == ["one", "two", "three"]
    audit(scene)


def test_a_stop_lets_the_step_end_and_begins_no_other(scene: Scene) -> None:
    enqueue(scene, {"id": 1, "hold": "one"})
    worker = scene.worker()
    eventually(lambda: steps(scene) == ["one"], "the first step")
    worker.send_signal(signal.SIGTERM)
    eventually(lambda: not pending(worker.pid), "the signal has come")
    scene.touch("go")
    finish(worker, 143)
    assert steps(scene) == done("one")
    assert scene.item(1)["attempts"] == 0
    scene.drain()
    assert steps(scene) == done("one", "two", "three")
    assert scene.rows("SELECT outcome, counted FROM attempts ORDER BY claim_no") == [
        ("handed_back", 0), ("completed", 1)
    ]  # fmt: skip


def test_a_fallback_is_in_the_history_and_its_result_in_the_next_step(scene: Scene) -> None:
    batch = enqueue(scene, {"id": 1, "fail": "two"}, {"id": 2})
    scene.drain()
    assert steps(scene) == [*done("one"), "two", "fallback", *done("three")]
    assert steps(scene, "2") == done("one", "two", "three")
    one, two, three = scene.item(f"{batch}/1")["steps"]
    assert (two["path"], two["result"]["after"]) == ("fallback", ["one"])
    assert two["error"]["type"] == "ExitCode"
    assert (one["path"], one["error"], three["path"], three["error"]) == ("step", None, "step", None)
    history = scene.cli.ok("history", f"{batch}/1")
    assert "step two: done by its fallback (ExitCode: exit code 75)" in history
    assert "step three: done\n" in history


def test_retry_resumes_at_the_failed_step_and_from_start_at_the_first(scene: Scene) -> None:
    batch = enqueue(scene, {"id": 1, "fail": "three"})
    scene.drain(code=1)
    assert scene.item(1)["error"]["message"].startswith("step three: exit code 75")
    assert "not to be done again: the steps one and two." in scene.cli.ok("why", "1")
    scene.touch("mended")
    scene.cli.ok("retry", batch, "--run")
    assert steps(scene) == [*done("one", "two"), "three", *done("three")]
    scene.cli.ok("cancel", batch)
    enqueue(scene, {"id": 2, "fail": "three"})
    (scene.folder / "mended").unlink()
    scene.drain(code=1)
    scene.touch("mended")
    scene.cli.ok("retry", "latest", "--from-start", "--run")
    assert steps(scene, "2") == [*done("one", "two"), "three", *done("one", "two", "three")]
    keys = {(step, key) for step, whose, key in map(json.loads, scene.lines("steps")) if key and whose == "2"}
    assert {step for step, _ in keys} == {"one", "two", "three"}
    assert len({key.partition(":")[0] for _, key in keys}) == 1
    assert all(key.endswith(f":{step}") for step, key in keys)


def test_a_step_that_was_changed_runs_again_with_those_after_it(scene: Scene) -> None:
    batch = enqueue(scene, {"id": 1, "fail": "three"})
    scene.drain(code=1)
    scene.touch("mended")
    scene.cli.config(CONFIG + CHAIN.replace("step.py, two]", "step.py, two, anew]"))
    scene.cli.ok("retry", batch, "--run")
    assert steps(scene) == [*done("one", "two"), "three", *done("two", "three")]


def test_cancelled_in_a_step(scene: Scene) -> None:
    batch = enqueue(scene, {"id": 1, "hold": "two"})
    worker = scene.worker()
    eventually(lambda: steps(scene)[-1:] == ["two"], "the second step")
    scene.cli.ok("cancel", batch)
    finish(worker, 0)
    assert scene.states() == {"cancelled": 1}
    assert steps(scene) == [*done("one"), "two"]


def test_an_item_that_kills_its_worker_in_the_second_step_is_a_suspect_for_that_step_alone(scene: Scene) -> None:
    (scene.folder / "work.py").write_text(
        CALL + "\ndef kill(item, context):\n    import os, signal\n    call(item, context)\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n    import time\n    time.sleep(600)\n"
    )
    scene.cli.config(CONFIG + CHAIN.replace('fallback: {python: "work:call"}', 'fallback: {python: "work:kill"}'))
    enqueue(scene, {"id": 1, "fail": "two"})
    workers = 0
    while scene.states() != {"failed": 1}:
        workers += 1
        assert workers < 6
        worker = scene.worker()
        finish(worker)
    assert Counter(steps(scene)) == {"one": 1, "end of one": 1, "two": 1, "fallback": 3}
    assert scene.item(1)["error"]["type"] == "WorkerDied"


@pytest.mark.parametrize("seed", [1])
def test_no_step_that_was_kept_runs_twice_whenever_the_worker_is_killed(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - keeps no secret
    scene.cli.config(CONFIG.replace("max_crashes: 2", "max_crashes: 100") + CHAIN)
    before: dict[tuple[Any, ...], int] = {}
    enqueue(scene, *({"id": n, "sleep": dice.random() / 50, "fail": "two" if n % 4 == 0 else ""} for n in range(20)))
    for _ in range(5):
        begun = len(scene.lines("steps"))
        worker = scene.worker("-j", "4")
        wanted = begun + dice.randint(1, 25)
        eventually(lambda: len(scene.lines("steps")) >= wanted or worker.poll() is not None, "some steps")  # noqa: B023
        time.sleep(dice.random() / 20)  # the dice pick the moment
        kill9(worker)
        kept = set(scene.rows("SELECT i.key, s.step FROM item_steps s JOIN items i ON i.id = s.item_id"))
        runs = Counter((key, step) for step, key, _ in map(json.loads, scene.lines("steps")))
        assert {pair: runs[pair] for pair in before} == before
        before = {pair: runs[pair] for pair in kept}
    assert before
    scene.drain("-j", "4")
    assert scene.states() == {"completed": 20}
    runs = Counter((key, step) for step, key, _ in map(json.loads, scene.lines("steps")))
    assert {pair: runs[pair] for pair in before} == before
    results = scene.rows("SELECT i.key, r.result FROM item_results r JOIN items i ON i.id = r.item_id")
    assert len(results) == 20
    assert all(json.loads(result) == {"step": "three", "key": key} for key, result in results)
    assert scene.value("SELECT count(*) FROM item_steps") == 60
    audit(scene)
