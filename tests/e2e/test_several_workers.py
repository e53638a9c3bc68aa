"""Several workers on one store: every item once, whoever takes it."""

from __future__ import annotations

import json

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish


def test_commands_are_shared_and_none_runs_twice(scene: Scene) -> None:
    for organization in ("acme", "bolt"):
        scene.enqueue([{"id": n} for n in range(30)], "--org", organization)
    workers = [scene.worker("-j", "2") for _ in range(3)]
    answers = [json.loads(finish(worker, 0)[0]) for worker in workers]
    assert sum(answer["completed"] for answer in answers) == 60
    starts = [start["item"] for start in scene.ran()]
    assert len(starts) == len(set(starts)) == 60
    assert scene.rows("SELECT outcome, count(*) FROM attempts GROUP BY 1") == [("completed", 60)]
    audit(scene)


def test_thousands_of_functions_too(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("lease: 60s", "lease: 2s"))
    (scene.folder / "work.py").write_text(
        "import os\n"
        "def call(item, context):\n"
        "    fd = os.open('called', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "    os.write(fd, b'%d\\n' % item.number)\n"
        "    os.close(fd)\n"
    )
    scene.enqueue(6_000, processor="call")
    workers = [scene.worker("-j", "2") for _ in range(3)]
    for worker in workers:
        finish(worker, 0)
    assert len(set(scene.lines("called"))) == len(scene.lines("called")) == 6_000
    audit(scene)


def test_run_waits_for_what_others_hold(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}])
    holder = scene.worker()
    scene.holds(1)
    waiting = scene.worker()
    eventually(lambda: scene.value("SELECT count(*) FROM workers") == 2)
    assert waiting.poll() is None
    scene.touch("go")
    assert json.loads(finish(holder, 0)[0])["completed"] == 1
    assert json.loads(finish(waiting, 0)[0])["completed"] == 0
    audit(scene)
