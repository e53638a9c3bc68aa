"""Pausing and resuming while work goes on: nothing new starts, what runs may finish, no attempt is spent."""

from __future__ import annotations

import pytest

from e2e.kit import Scene, audit, eventually, finish

GATES = [["latest"], ["--processor", "deed"], ["--all"]]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate[0])
def test_what_runs_finishes_and_nothing_new_starts(scene: Scene, gate: list[str]) -> None:
    batch = scene.enqueue([{"id": 1, "hold": "go"}, {"id": 2}, {"id": 3}])
    worker = scene.worker("-j", "1")
    scene.holds(1)
    scene.cli.ok("pause", *gate)
    scene.touch("go")
    finish(worker, 3)
    assert scene.states() == {"completed": 1, "pending": 2}
    shown = scene.show(batch)
    assert {item["key"]: (item["state"], item["waiting_for"], item["attempts"]) for item in shown["items"]} == {
        "1": ("completed", None, 1),
        "2": ("waiting", "paused", 0),
        "3": ("waiting", "paused", 0),
    }
    scene.cli.ok("resume", *gate)
    assert scene.drain()["completed"] == 2
    audit(scene)


def test_a_service_goes_on_when_it_may(scene: Scene) -> None:
    scene.enqueue(1)
    service = scene.worker("--forever")
    eventually(lambda: scene.states() == {"completed": 1})
    scene.cli.ok("pause", "--all")
    scene.enqueue([{"id": 2}])
    paused = scene.value("SELECT seen_at FROM workers")
    eventually(lambda: scene.value("SELECT seen_at FROM workers") > paused, "it lives and had time to look")
    assert scene.states() == {"completed": 1, "pending": 1}
    scene.cli.ok("resume", "--all")
    eventually(lambda: scene.states() == {"completed": 2})
    service.terminate()
    finish(service, 143)
    audit(scene)


def test_a_pause_with_an_end_ends(scene: Scene) -> None:
    batch = scene.enqueue(1)
    scene.cli.ok("pause", batch, "--until", "+1s")
    service = scene.worker("--forever")
    eventually(lambda: scene.states() == {"completed": 1})
    service.terminate()
    finish(service, 143)
    audit(scene)
