"""Promises 2 and 3: what a dead worker held comes back; orphans end first; suspects run alone; nobody else pays."""

from __future__ import annotations

import os
import signal
import sys

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish, kill9

DEAD = -signal.SIGKILL


def test_orphans_end_before_their_item_runs_again(scene: Scene) -> None:
    """Those too that ignore TERM, and the processes that they started: all of them hold the item's lock."""
    batch = scene.enqueue(
        [
            {"id": 1, "hold": "never", "holds": 1, "child": True},
            {"id": 2, "hold": "never", "holds": 1, "child": True, "stubborn": True},
        ]
    )
    worker = scene.worker("-j", "2")
    scene.holds(2)
    kill9(worker)
    assert len(scene.processes()) == 4
    assert scene.drain()["completed"] == 2
    item = scene.cli.json("show", f"{batch}/1")
    assert [(one["outcome"], one["counted"]) for one in item["attempts"]] == [("crashed", False), ("completed", True)]
    assert item["item"]["attempts"] == 1
    audit(scene)
    assert {path.name for path in scene.private.iterdir()} <= {"ticket.lock", "write.lock"}


def test_only_what_had_begun_is_suspected(scene: Scene) -> None:
    scene.enqueue([{"id": n, "hold": "never", "holds": 1} for n in range(6)])
    worker = scene.worker("-j", "2")
    scene.holds(2)
    kill9(worker)
    scene.cli.ok("pause", "latest")
    scene.drain(code=3)  # recovers, claims nothing
    assert scene.rows("SELECT suspect, state, count(*) FROM items GROUP BY 1, 2 ORDER BY 1") == [
        (0, "pending", 4),
        (1, "pending", 2),
    ]
    assert scene.value("SELECT count(*) FROM attempts") == 2


def test_an_item_that_kills_its_worker_fails_and_takes_nothing_along(scene: Scene) -> None:
    """max_crashes is 2: once in company, twice alone, then it fails."""
    others = [{"id": 2, "hold": "go"}, {"id": 3, "hold": "go"}]
    batch = scene.enqueue([*others, {"id": 1, "kill": 99, "after": 2}, {"id": 4}, {"id": 5}])
    first = scene.worker("-j", "3")
    scene.holds(2)
    finish(first, DEAD)
    scene.touch("go")
    deaths = 1
    while (code := _run(scene)) == DEAD:
        deaths += 1
    assert (code, deaths) == (1, 3)
    assert scene.states() == {"completed": 4, "failed": 1}
    error = scene.item(f"{batch}/1")["error"]
    assert (error["type"], error["permanent"]) == ("WorkerDied", True)
    crashed = "SELECT count(*) FROM attempts WHERE outcome = 'crashed' GROUP BY worker_id ORDER BY 1"
    assert scene.rows(crashed) == [(1,), (1,), (3,)]
    assert scene.value("SELECT max(attempts_used) FROM items WHERE state = 'completed'") == 1
    audit(scene)


def _run(scene: Scene) -> int:
    worker = scene.worker("-j", "3")
    finish(worker)
    return worker.returncode


def test_a_suspect_that_was_innocent_completes(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "kill": 2}, {"id": 2}])
    while _run(scene) == DEAD:
        pass
    assert scene.states() == {"completed": 2}
    assert scene.item(f"{batch}/1")["attempts"] == 1
    audit(scene)


def test_a_reboot_counts_for_nothing(scene: Scene) -> None:
    scene.enqueue([{"id": n, "hold": "never", "holds": 1} for n in range(3)])
    worker = scene.worker("-j", "3")
    scene.holds(3)
    kill9(worker)
    for pid in scene.processes():  # a reboot leaves no orphans
        os.kill(pid, signal.SIGKILL)
    scene.alone()
    scene.change("UPDATE workers SET boot_id = '00000000-0000-0000-0000-000000000000'")
    assert scene.drain()["completed"] == 3
    assert scene.value("SELECT sum(suspect) + sum(crashes) FROM items") == 0
    assert scene.rows("SELECT DISTINCT outcome FROM attempts") == [("completed",)]
    audit(scene)


def test_a_stopped_worker_is_ended_and_its_items_run_again(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("lease: 60s", "lease: 1s"))
    scene.enqueue([{"id": n, "hold": "never", "holds": 1, "child": True} for n in (1, 2)])
    frozen = scene.worker("-j", "2")
    scene.holds(2)
    frozen.send_signal(signal.SIGSTOP)
    assert scene.drain()["completed"] == 2  # waits for its lease to be over
    finish(frozen, DEAD)
    audit(scene)


def test_a_living_worker_is_left_alone(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}])
    worker = scene.worker()
    scene.holds(1)
    for _ in range(2):
        scene.drain("--no-wait")
    assert len(scene.ran()) == 1
    scene.touch("go")
    finish(worker, 0)
    audit(scene)


def test_a_worker_takes_over_from_one_that_dies_beside_it(scene: Scene) -> None:
    scene.enqueue([{"id": n, "hold": "never", "holds": 1} for n in (1, 2)] + [{"id": 3, "hold": "go"}])
    dying = scene.worker("-j", "2")
    scene.holds(2)
    heir = scene.worker("-j", "2")
    scene.holds(3)
    kill9(dying)
    eventually(lambda: scene.value("SELECT count(*) FROM items WHERE suspect = 1") == 2, "two suspects")
    scene.touch("go")
    finish(heir, 0)
    assert scene.states() == {"completed": 3}
    audit(scene)


def test_a_late_answer_from_a_lost_lease_changes_nothing(scene: Scene) -> None:
    """Somebody has taken the item from a worker that goes on, unaware."""
    batch = scene.enqueue([{"id": 1, "hold": "go"}])
    worker = scene.worker()
    scene.holds(1)
    with scene.still(worker.pid):
        scene.cli.ok("pause", batch)
        scene.change("UPDATE items SET state = 'pending', worker_id = NULL, claim_no = claim_no + 1")
        scene.touch("go")
        eventually(lambda: scene.lines("done"), "its command has ended")
    finish(worker, 3)
    assert scene.states() == {"pending": 1}
    assert scene.value("SELECT count(*) FROM attempts") + scene.value("SELECT count(*) FROM item_results") == 0
    scene.cli.ok("resume", batch)
    scene.drain()
    assert scene.states() == {"completed": 1}
    audit(scene)


def test_a_function_s_interpreter_dies_with_its_worker(scene: Scene) -> None:
    (scene.folder / "work.py").write_text(
        "import time\n"
        "def call(item, context):\n"
        "    with open('held', 'a') as held: held.write('x\\n')\n"
        "    if len(open('held').readlines()) <= 2: time.sleep(600)\n"
    )
    scene.enqueue(2, processor="call")
    worker = scene.worker("-j", "2")
    scene.holds(2)
    kill9(worker)
    scene.alone()
    assert scene.drain()["completed"] == 2
    assert scene.rows("SELECT DISTINCT outcome FROM attempts ORDER BY 1") == [("completed",), ("crashed",)]
    audit(scene)


def test_items_of_a_dead_worker_whose_processor_is_gone_wait(scene: Scene) -> None:
    scene.cli.config(CONFIG + f'  gone: {{command: ["{sys.executable}", -I, -S, deed.py]}}\n')
    scene.enqueue([{"id": 1, "hold": "never", "holds": 1}], processor="gone")
    worker = scene.worker()
    scene.holds(1)
    kill9(worker)
    scene.cli.config(CONFIG)
    scene.drain(code=3)
    assert scene.states() == {"pending": 1}
    scene.alone()
