"""Promise 1, by violence: `kill -9` at moments drawn by a seed; then every promise is checked in the store."""

from __future__ import annotations

import random
import time

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, kill9

PATIENT = CONFIG.replace("max_crashes: 2", "max_crashes: 100")  # here the items are not to blame
CALL = """
import os
def call(item, context):
    fd = os.open("called", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{item.number} {context.idempotency_key}\\n".encode())
    os.close(fd)
    return item["id"]
"""


def _kill_when(scene: Scene, args: list[str], file: str, lines: int, delay: float) -> None:
    """Start a worker, wait until `file` has so many lines or the worker is done, then a little, and kill it."""
    worker = scene.worker(*args)
    eventually(lambda: len(scene.lines(file)) >= lines or worker.poll() is not None, f"{lines} lines in {file}")
    time.sleep(delay)  # not to wait for anything: it is the dice that pick the moment
    kill9(worker)


@pytest.mark.parametrize("seed", [1])
def test_commands_survive_a_worker_that_dies_again_and_again(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - keeps no secret
    scene.cli.config(PATIENT)
    scene.enqueue([{"id": n, "sleep": dice.random() / 50, "child": n % 5 == 0} for n in range(40)])
    for _ in range(6):
        _kill_when(scene, ["-j", "4"], "ran", len(scene.ran()) + dice.randint(0, 6), dice.random() / 20)
    scene.drain("-j", "4")
    assert scene.states() == {"completed": 40}
    audit(scene)


@pytest.mark.parametrize("seed", [3])
def test_functions_survive_it_while_hundreds_are_claimed_and_recorded(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - keeps no secret
    scene.cli.config(PATIENT)
    (scene.folder / "work.py").write_text(CALL)
    scene.enqueue(6_000, processor="call")
    for _ in range(4):
        _kill_when(scene, ["-j", "2"], "called", len(scene.lines("called")) + dice.randint(1, 900), dice.random() / 20)
    scene.drain("-j", "2")
    assert scene.states() == {"completed": 6_000}
    wrong = """SELECT count(*) FROM items i JOIN item_results r ON r.item_id = i.id
               WHERE r.result <> CAST(i.position AS TEXT)"""
    assert scene.value(wrong) == 0
    calls = [tuple(line.split()) for line in scene.lines("called")]
    assert set(calls) == {
        (str(number), key) for number, key in scene.rows("SELECT item_id, idempotency_key FROM item_data")
    }
    audit(scene)


@pytest.mark.parametrize("seed", [5, 6])
def test_a_killed_enqueue_leaves_nothing_or_all(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - keeps no secret
    scene.cli.ok("enqueue", "orders", "--id", "0", "-p", "deed")
    (scene.folder / "many.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(1, 40_001)))
    loader = scene.cli.start("enqueue", "orders", "many.jsonl", "-p", "deed", "--print-id")
    scene.started.append(loader)
    some = dice.randint(1, 40_000)
    eventually(lambda: scene.value("SELECT count(*) FROM items") > some or loader.poll() is not None)
    time.sleep(dice.random() / 20)
    kill9(loader)
    total = sum(batch["total_items"] for batch in scene.cli.json("list")["batches"])
    assert total in (1, 40_001)
    if total > 1:
        scene.cli.ok("cancel", "latest", "--yes")
    scene.drain()  # what was abandoned is deleted
    assert scene.value("SELECT count(*) FROM items") == total
    assert scene.value("SELECT count(*) FROM item_data") == total
    audit(scene)
    assert {path.name for path in scene.private.iterdir()} <= {"ticket.lock", "write.lock"}


@pytest.mark.parametrize("seed", [8])
def test_a_killed_cancel_is_finished_by_whoever_comes(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - keeps no secret
    batch = scene.enqueue(30_000)
    command = scene.cli.start("cancel", batch, "--yes")
    scene.started.append(command)
    some = dice.randint(1, 25_000)
    eventually(lambda: scene.states().get("cancelled", 0) > some or command.poll() is not None)
    kill9(command)
    assert scene.drain()["completed"] == 0
    assert scene.states() == {"cancelled": 30_000}
    assert scene.show(batch)["batch"]["status"] == "cancelled"
    audit(scene)


@pytest.mark.parametrize("seed", [10])
def test_a_killed_retry_is_finished_by_whoever_comes(scene: Scene, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - keeps no secret
    (scene.folder / "work.py").write_text(CALL)
    batch = scene.enqueue(20_000, processor="call")
    scene.cli.ok("cancel", batch, "--yes")
    command = scene.cli.start("retry", batch, "--cancelled")
    scene.started.append(command)
    some = dice.randint(1, 16_000)
    eventually(lambda: scene.states().get("pending", 0) > some or command.poll() is not None)
    kill9(command)
    scene.drain("-j", "2")
    assert scene.states() == {"completed": 20_000}
    assert len(scene.lines("called")) == 20_000
    assert scene.show(batch)["batch"]["run_no"] == 2
    audit(scene)


def _remove_store(scene: Scene) -> None:
    if scene.database.path is None:
        scene.change("DROP SCHEMA public CASCADE")
        scene.change("CREATE SCHEMA public")
    for path in scene.folder.glob("q.db*"):
        if path.is_file():
            path.unlink()


def test_a_store_that_was_just_made_by_a_killed_program_is_made_again(scene: Scene) -> None:
    for delay in (0.15, 0.2, 0.25, 0.3):
        _remove_store(scene)
        first = scene.cli.start("enqueue", "orders", "--id", "1", "-p", "deed", "--again")
        scene.started.append(first)
        time.sleep(delay)
        kill9(first)
        scene.cli.ok("enqueue", "orders", "--id", "1", "-p", "deed", "--again")
        audit(scene, finished=False)
