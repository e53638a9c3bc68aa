"""For tests/e2e/test_failures.py, once /tmp/e2e/python-wakeup.patch (or the like) is in processors/python.py."""

from __future__ import annotations

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish


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
