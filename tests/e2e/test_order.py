"""The order of the contract: priority, organizations in turn, the older batch, input order."""

from __future__ import annotations

from e2e.kit import Scene


def _order(scene: Scene) -> list[str]:
    return [start["key"] for start in scene.ran()]


def _named(prefix: str, count: int) -> list[dict[str, object]]:
    return [{"id": f"{prefix}{n}"} for n in range(1, count + 1)]


def test_priority_then_the_older_batch_then_input_order(scene: Scene) -> None:
    scene.enqueue(_named("low", 2), "--priority", "low")
    scene.enqueue(_named("first", 3))
    scene.enqueue(_named("second", 2))
    scene.enqueue(_named("high", 2), "--priority", "high")
    scene.drain("-j", "1")
    assert _order(scene) == [
        *("high1", "high2"),
        *("first1", "first2", "first3"),
        *("second1", "second2"),
        *("low1", "low2"),
    ]


def test_organizations_take_turns(scene: Scene) -> None:
    scene.enqueue(_named("big", 40), "--org", "big")
    scene.enqueue(_named("small", 4), "--org", "small")
    scene.enqueue(_named("tiny", 1), "--org", "tiny")
    scene.drain("-j", "1")
    order = _order(scene)
    assert [key for key in order if key.startswith("big")] == [f"big{n}" for n in range(1, 41)]
    last = max(order.index(key) for key in ("small4", "tiny1"))
    assert last < 25, order


def test_what_is_set_to_high_overtakes_what_waits(scene: Scene) -> None:
    scene.enqueue([{"id": "first", "hold": "go"}])
    scene.enqueue(_named("old", 2))
    late = scene.enqueue(_named("late", 2))
    worker = scene.worker("-j", "1")
    scene.holds(1)
    scene.cli.ok("set", late, "--priority", "high")
    scene.touch("go")
    worker.communicate()
    assert _order(scene) == ["first", "late1", "late2", "old1", "old2"]


def test_only_one_organization_s_work(scene: Scene) -> None:
    scene.enqueue(_named("a", 2), "--org", "acme")
    scene.enqueue(_named("b", 2), "--org", "bolt")
    assert scene.drain("--org", "bolt", "-j", "1")["completed"] == 2
    assert _order(scene) == ["b1", "b2"]
