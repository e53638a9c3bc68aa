"""As cron and pipes run it: an empty environment, no terminal, nothing but lines."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit

CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")  # also ESC and carriage returns


def _bare(scene: Scene, *args: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """`env -i`, from the root folder."""
    command = [sys.executable, "-m", "batchctl", "--config", str(scene.folder / "batchctl.yaml"), *args]
    return subprocess.run(command, cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def test_an_empty_environment_will_do(scene: Scene) -> None:
    scene.cli.config(CONFIG + "  copy: {command: [cp, from.txt, to.txt]}\n")
    (scene.folder / "from.txt").write_text("moved")
    scene.enqueue(5)
    scene.enqueue(1, processor="copy")
    done = _bare(scene, "run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["completed"] == 6
    assert (scene.folder / "to.txt").read_text() == "moved"
    assert b"Traceback" not in done.stderr
    audit(scene)


def test_secrets_come_from_the_env_file(scene: Scene) -> None:
    (scene.folder / ".env").write_text("TOKEN=open-sesame\n")
    (scene.folder / ".env").chmod(0o600)
    tool = '{command: [sh, -c, "test $TOKEN = open-sesame"], env: {TOKEN: "${TOKEN}"}}'
    scene.cli.config("env_file: .env\n" + CONFIG + f"  tool: {tool}\n")
    scene.enqueue(1, processor="tool")
    done = _bare(scene, "run")
    assert done.returncode == 0, done.stderr


def test_nothing_due_says_nothing_on_standard_output(scene: Scene) -> None:
    scene.enqueue(1)
    scene.drain()
    done = _bare(scene, "run", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


COMMANDS = [["run"], ["list"], ["show", "latest"], ["errors"], ["workers"], ["history", "latest"]]


def test_a_pipe_gets_plain_whole_lines(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "exit": 65, "say": "\x1b[31mred\x1b[0m\rover\n"}, {"id": 2}], "--name", "übersicht")
    for args in COMMANDS:
        done = _bare(scene, *args, LANG="C.UTF-8")
        for text in (done.stdout, done.stderr):
            assert CONTROL.findall(text) == [], args
            assert text == b"" or text.endswith(b"\n"), args


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=lambda env: next(iter(env)))
def test_a_terminal_without_colour_gets_none(scene: Scene, env: dict[str, str]) -> None:
    scene.enqueue([{"id": 1, "exit": 65}, {"id": 2}])
    for args in (["run"], ["list"], ["show", "latest"]):
        text = _on_terminal(scene, args, {"TERM": "xterm-256color", **env})
        assert text
        assert re.findall(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", text) == [], args  # a colour or a style


def _on_terminal(scene: Scene, args: list[str], env: dict[str, str]) -> bytes:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "batchctl", *args],
        cwd=scene.folder,
        env=scene.cli.environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(ours)
    process.wait()
    return text


def test_a_reader_that_has_enough_ends_nothing(scene: Scene) -> None:
    """`batchctl enqueue … --run -- … | head -1` still does all the work."""
    script = (
        f"""{sys.executable} -m batchctl enqueue orders --id 1 --id 2 --id 3 --run -- sh -c 'echo {{id}}' | head -1"""
    )
    done = subprocess.run(["sh", "-c", script], cwd=scene.folder, env=scene.cli.environment(), capture_output=True)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert sum(scene.states().values()) == 3
