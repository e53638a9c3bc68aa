"""Promise 5: a processor that is broken costs no attempts, and goes on when what broke it changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, finish, serving


def _waits(scene: Scene, batch: str, items: int) -> None:
    """All of it waits for its processor, unspent, and one alert is raised."""
    shown = scene.show(batch)["items"]
    assert [(one["state"], one["waiting_for"], one["attempts"]) for one in shown] == [
        ("waiting", "processor", 0)
    ] * items
    assert scene.value("SELECT count(*) FROM events WHERE event = 'processor_broken'") == 1
    assert scene.value("SELECT sum(attempts_used) FROM items") == 0


def _program(path: Path, text: str, mode: int = 0o700) -> None:
    path.write_text(text)
    path.chmod(mode)


def _missing(scene: Scene) -> None:
    """There is no such file."""


def _not_executable(scene: Scene) -> None:
    _program(scene.folder / "tool", "#!/bin/sh\n", 0o600)


def _exit_126(scene: Scene) -> None:
    _program(scene.folder / "tool", "#!/bin/sh\n/etc/passwd\n")


def _exit_127(scene: Scene) -> None:
    _program(scene.folder / "tool", "#!/bin/sh\nno-such-program-anywhere\n")


@pytest.mark.parametrize("breaks", [_missing, _not_executable, _exit_126, _exit_127])
def test_a_command_that_can_t_run(scene: Scene, breaks: Callable[[Scene], None]) -> None:
    breaks(scene)
    scene.cli.config(CONFIG + "  tool: {command: [./tool], max_retries: 5}\n")
    batch = scene.enqueue(5, processor="tool")
    answer = scene.drain("-j", "2", code=3)
    assert (answer["failed"], answer["retried"], answer["unfinished_items"]) == (0, 0, 5)
    _waits(scene, batch, 5)
    scene.drain(code=3)  # nothing has changed
    _waits(scene, batch, 5)
    _program(scene.folder / "tool", "#!/bin/sh\n")
    scene.cli.ok("resume", "--processor", "tool")
    assert scene.drain()["completed"] == 5
    audit(scene)


def test_a_changed_definition_mends_it(scene: Scene) -> None:
    _program(scene.folder / "tool", "#!/bin/sh\nexit 127\n")
    _program(scene.folder / "better", "#!/bin/sh\n")
    scene.cli.config(CONFIG + "  tool: {command: [./tool]}\n")
    batch = scene.enqueue(3, processor="tool")
    scene.drain(code=3)
    _waits(scene, batch, 3)
    scene.cli.config(CONFIG + "  tool: {command: [./better]}\n")
    assert scene.drain()["completed"] == 3
    audit(scene)


def test_a_module_that_can_t_be_imported(scene: Scene) -> None:
    (scene.folder / "work.py").write_text("import no_such_module\n")
    batch = scene.enqueue(4, processor="call")
    scene.drain("-j", "2", code=3)
    _waits(scene, batch, 4)
    (scene.folder / "work.py").write_text("def call(item, context): return 1\n")
    scene.cli.ok("resume", "--processor", "call")
    assert scene.drain()["completed"] == 4
    audit(scene)


def test_a_missing_variable_and_its_arrival(scene: Scene) -> None:
    scene.cli.config(CONFIG + '  tool: {command: [sh, -c, "test $TOKEN = open-sesame"], env: {TOKEN: "${TOKEN}"}}\n')
    batch = scene.enqueue(2, processor="tool")
    scene.drain(code=3)
    _waits(scene, batch, 2)
    assert scene.drain(TOKEN="open-sesame")["completed"] == 2  # noqa: S106 - a fairy tale's
    audit(scene)


def test_a_token_that_is_refused_and_its_successor(scene: Scene) -> None:
    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Authorization"] == "Bearer open-sesame" else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Door) as url:
        get = f'{{http: {{url: "{url}", headers: {{Authorization: "Bearer ${{TOKEN}}"}}}}}}'
        scene.cli.config(CONFIG + f"  get: {get}\n")
        batch = scene.enqueue(3, processor="get")
        scene.drain(code=3, TOKEN="open-barley")  # noqa: S106 - a fairy tale's
        _waits(scene, batch, 3)
        scene.drain(code=3, TOKEN="open-barley")  # noqa: S106 - as above
        _waits(scene, batch, 3)
        assert scene.drain(TOKEN="open-sesame")["completed"] == 3  # noqa: S106 - as above
    audit(scene)


def test_neighbours_that_run_already_may_finish(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "hold": "go"}, {"id": 2, "exit": 127}, {"id": 3}])
    worker = scene.worker("-j", "2")
    scene.holds(1)
    scene.wait_for("processor_broken")
    scene.touch("go")
    finish(worker, 3)
    assert scene.item(f"{batch}/1")["state"] == "completed"
    assert [scene.item(f"{batch}/{n}")["attempts"] for n in (2, 3)] == [0, 0]
    assert len(scene.ran()) == 2
    audit(scene, finished=False)


def test_other_processors_go_on(scene: Scene) -> None:
    (scene.folder / "work.py").write_text("raise SystemExit(1)\n")
    scene.enqueue(2, processor="call")
    scene.enqueue(3)
    answer = scene.drain(code=3)
    assert (answer["completed"], answer["unfinished_items"]) == (3, 2)
    audit(scene, finished=False)


def test_a_broken_inline_command_waits_as_well(scene: Scene) -> None:
    done = scene.cli.run("enqueue", "orders", "--id", "1", "--run", "--", f"{os.sep}no{os.sep}such{os.sep}tool")
    assert done.returncode == 3, done.stderr
    assert scene.states() == {"pending": 1}
    assert scene.value("SELECT attempts_used FROM items") == 0
