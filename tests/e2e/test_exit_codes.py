"""Section 2 of the contract: what `run` ends with, and what it says then."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, finish

EMPTY = {"completed": 0, "failed": 0, "retried": 0, "unfinished_items": 0, "batches": []}


def test_0_where_there_is_no_store(file_scene: Scene) -> None:
    assert file_scene.drain() | {"duration_ms": 0} == EMPTY | {"duration_ms": 0}
    assert not file_scene.store.exists()
    assert str(file_scene.store) in file_scene.cli.run("run").stderr


def test_0_where_nothing_is_due_or_nothing_failed(scene: Scene) -> None:
    batch = scene.enqueue(1)
    assert scene.drain(batch)["completed"] == 1
    assert scene.drain()["batches"] == []
    assert scene.drain(batch)["batches"][0]["status"] == "completed"


def test_1_where_items_failed_in_this_run_or_in_the_batch_named(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "exit": 65}, {"id": 2}])
    answer = scene.drain(code=1)
    assert (answer["completed"], answer["failed"]) == (1, 1)
    assert answer["batches"][0]["status"] == "completed_with_errors"
    scene.drain(code=0)  # nothing failed during this one
    scene.drain(batch, code=1)
    audit(scene)


@pytest.mark.parametrize(
    "args",
    [
        ("--nonsense",),
        ("--processor", "nobody"),
        ("--max-time", "soon"),
        ("-j", "0"),
        ("--max-items", "0"),
        ("--forever", "--no-wait"),
    ],
)
def test_2_where_the_options_are_refused(scene: Scene, args: tuple[str, ...]) -> None:
    scene.enqueue(1)
    problem = scene.drain(*args, code=2)["error"]
    assert problem["code"] == 2
    assert problem["message"]
    assert scene.states() == {"pending": 1}


def test_2_where_the_config_is_wrong_and_every_problem_is_named(scene: Scene) -> None:
    scene.enqueue(1)
    scene.cli.config(CONFIG + "  odd: {comand: [ls], timeout: soon}\nwroker: {}\n")
    problem = scene.drain(code=2)["error"]
    assert problem["type"] == "ConfigError"
    assert len(problem["details"]) >= 3
    assert all("batchctl.yaml:" in detail for detail in problem["details"])


def test_3_where_max_items_leaves_work(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "exit": 65}, {"id": 2}, {"id": 3}])
    answer = scene.drain("--max-items", "2", "-j", "4", code=3)  # 3 goes before 1
    assert (answer["completed"], answer["failed"], answer["unfinished_items"]) == (1, 1, 1)
    assert len(scene.ran()) == 2
    scene.drain("--max-items", "1", code=0)
    audit(scene)


def test_3_where_the_time_is_over_and_what_runs_goes_back(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "hold": "go"}, {"id": 2}])
    answer = scene.drain("-j", "1", "--max-time", "10ms", "--grace", "0s", code=3)
    assert answer["unfinished_items"] == 2
    assert scene.states() == {"pending": 2}
    assert scene.item(f"{batch}/1")["attempts"] == 0
    scene.alone()
    scene.touch("go")
    scene.drain()
    audit(scene)


def _pause(scene: Scene) -> None:
    scene.cli.ok("pause", scene.enqueue(1))


def _schedule(scene: Scene) -> None:
    scene.enqueue(1, "--not-before", "+2h")


def _foreign(scene: Scene) -> None:
    scene.enqueue(1)
    scene.cli.config(CONFIG.replace("  deed:", "  renamed:"))


def _broken(scene: Scene) -> None:
    (scene.folder / "work.py").write_text("import no_such_module\n")
    scene.enqueue(1, processor="call")


@pytest.mark.parametrize("hold", [_pause, _schedule, _foreign, _broken])
def test_3_where_all_that_is_left_is_held(scene: Scene, hold: Callable[[Scene], None]) -> None:
    hold(scene)
    answer = scene.drain(code=3)
    assert (answer["completed"], answer["failed"], answer["unfinished_items"]) == (0, 0, 1)
    assert scene.states() == {"pending": 1}


def test_4_where_there_is_no_such_batch(scene: Scene) -> None:
    assert scene.drain("bnosuchbatch", code=4)["error"]["type"] in ("NotFound", "StoreMissing")
    scene.enqueue(1)
    problem = scene.drain("bnosuchbatch", code=4)["error"]
    assert (problem["code"], problem["type"], problem["details"]) == (4, "NotFound", [])
    assert "bnosuchbatch" in problem["message"]


def test_5_where_the_store_is_no_store(file_scene: Scene) -> None:
    file_scene.store.write_text("Dear diary, " * 1000)
    assert file_scene.drain(code=5)["error"]["type"] == "StoreCorrupt"
    done = file_scene.cli.run("run")
    assert done.returncode == 5
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_5_where_a_newer_version_made_the_store(file_scene: Scene) -> None:
    file_scene.enqueue(1)
    file_scene.change("PRAGMA user_version = 9999")
    problem = file_scene.drain(code=5)["error"]
    assert problem["type"] == "StoreTooNew"
    assert "upgrade" in file_scene.cli.run("run").stderr


def test_a_signal_goes_before_what_failed(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "exit": 65}, {"id": 2, "hold": "go"}])
    worker = scene.worker("-j", "1", "--grace", "0s")
    scene.holds(1)
    worker.terminate()
    out, _ = finish(worker, 143)
    assert '"failed": 1' in out
