"""Cancelling what runs, from another process."""

from __future__ import annotations

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish


def test_running_commands_are_ended_with_all_they_started(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "hold": "go", "child": True}, {"id": 2, "hold": "go"}, {"id": 3}])
    other = scene.enqueue([{"id": 4, "hold": "go"}], "--priority", "high")
    worker = scene.worker("-j", "3")
    scene.holds(3)
    answer = scene.cli.json("cancel", batch, "--yes")
    assert {one["key"]: one["state"] for one in answer["running"]} == {"1": "cancelled", "2": "cancelled"}
    assert [one["status"] for one in answer["batches"]] == ["cancelled"]
    assert [path for path in scene.processes().values() if "child-1" in path] == []
    assert scene.item(f"{other}/4")["state"] == "processing"
    scene.touch("go")
    finish(worker, 0)
    assert sorted(start["key"] for start in scene.ran()) == ["1", "2", "4"]
    assert scene.states() == {"cancelled": 3, "completed": 1}
    audit(scene)


def test_one_item_of_many(scene: Scene) -> None:
    batch = scene.enqueue([{"id": n, "hold": "go"} for n in range(4)])
    worker = scene.worker("-j", "2")
    scene.holds(2)
    scene.cli.ok("cancel", f"{batch}/1", f"{batch}/3")
    assert {n: scene.item(f"{batch}/{n}")["state"] for n in (1, 3)} == {1: "cancelled", 3: "cancelled"}
    scene.touch("go")
    finish(worker, 0)
    assert scene.states() == {"cancelled": 2, "completed": 2}
    assert "3" not in [start["key"] for start in scene.ran()]
    audit(scene)


def test_a_function_that_never_looks_up(scene: Scene) -> None:
    (scene.folder / "work.py").write_text(
        "def call(item, context):\n    open('held', 'a').write(item.key + '\\n')\n    while True: pass\n"
    )
    batch = scene.enqueue(1, processor="call")
    worker = scene.worker()
    scene.holds(1)
    assert scene.cli.json("cancel", batch)["running"][0]["state"] == "cancelled"
    finish(worker, 0)
    audit(scene)


def test_what_was_cancelled_can_be_taken_back(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "hold": "go"}, {"id": 2}])
    worker = scene.worker("-j", "1")
    scene.holds(1)
    scene.cli.ok("cancel", batch, "--yes")
    finish(worker, 0)
    scene.touch("go")
    scene.cli.ok("retry", batch, "--cancelled")
    assert scene.drain()["completed"] == 2
    assert scene.show(batch)["batch"]["status"] == "completed"
    assert scene.lines("collisions") == []


def test_a_retry_that_waits_ends_at_once(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("base: 50ms", "base: 1h").replace("max: 1s", "max: 2h"))
    batch = scene.enqueue([{"id": 1, "fail": 1}], processor="stubborn")
    worker = scene.worker()
    eventually(lambda: scene.states() == {"waiting": 1})
    scene.cli.ok("cancel", batch, "--yes")
    finish(worker, 0)
    assert scene.states() == {"cancelled": 1}
    assert scene.item(f"{batch}/1")["attempts"] == 1
    audit(scene)
