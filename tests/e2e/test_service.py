"""`run --forever` as a service: it says when it is ready, reads its config again on SIGHUP, and a hang is seen."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from e2e.conftest import CONFIG
from e2e.kit import PATIENCE, Scene, audit, eventually, finish

EXTRA = CONFIG + "  later: {command: [cp, from.txt, to.txt]}\n"


class Supervisor:
    """What systemd is for a service of Type=notify."""

    def __init__(self) -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = f"@batchctl-{os.getpid()}-{id(self)}"
        self.line.bind("\0" + self.address[1:])
        self.line.settimeout(PATIENCE)

    def hear(self, word: str) -> list[str]:
        """Everything up to the message that begins with the word."""
        heard: list[str] = []
        while not heard or not heard[-1].startswith(word):
            heard.append(self.line.recv(4096).decode())
        return heard

    def silent_for(self, seconds: float) -> bool:
        """True once nothing comes for so long; False while something does."""
        self.line.settimeout(seconds)
        try:
            self.line.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.line.settimeout(PATIENCE)
        return False


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    here = Supervisor()
    yield here
    here.line.close()


def service(scene: Scene, supervisor: Supervisor, *args: str, **env: str) -> subprocess.Popen[str]:
    worker = scene.cli.start("run", "--forever", *args, NOTIFY_SOCKET=supervisor.address, **env)
    scene.started.append(worker)
    return worker


def test_a_changed_config_is_taken_up_and_what_runs_goes_on(scene: Scene, supervisor: Supervisor) -> None:
    (scene.folder / "from.txt").write_text("moved")
    scene.enqueue([{"id": 1, "hold": "go", "child": True}, *({"id": n} for n in range(2, 40))])
    worker = service(scene, supervisor, "-j", "1")
    supervisor.hear("READY=1")
    scene.holds(1)
    scene.cli.config(EXTRA)
    worker.send_signal(signal.SIGHUP)
    heard = supervisor.hear("READY=1")
    assert heard[-2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert "later" in heard[-1]
    assert json.loads(scene.cli.ok("workers", "--json"))["workers"][0]["pid"] == worker.pid
    scene.touch("go")
    scene.enqueue(1, processor="later")
    eventually(lambda: scene.states() == {"completed": 40}, "all is done")
    assert [start["attempt"] for start in scene.ran()] == ["1"] * 39  # nothing was begun twice
    assert (scene.folder / "to.txt").read_text() == "moved"
    worker.send_signal(signal.SIGTERM)
    supervisor.hear("STOPPING=1")
    _, err = finish(worker, 143)
    assert [word for word in err.split() if word.startswith("event=")] == [
        "event=worker_started", "event=config_reloaded", "event=worker_stopping"
    ]  # fmt: skip
    audit(scene)


def test_a_running_item_ends_under_the_rules_it_began_with(scene: Scene, supervisor: Supervisor) -> None:
    scene.enqueue([{"id": 1, "hold": "go", "exit": 1}])
    worker = service(scene, supervisor)
    scene.holds(1)
    scene.cli.config("\n".join(line for line in CONFIG.splitlines() if "deed:" not in line))  # its processor is gone
    worker.send_signal(signal.SIGHUP)
    supervisor.hear("RELOADING=1")
    assert "deed" not in supervisor.hear("READY=1")[-1]
    scene.touch("go")
    eventually(lambda: scene.states() == {"failed": 1}, "it has failed")
    worker.send_signal(signal.SIGTERM)
    finish(worker, 143)


def test_a_config_with_mistakes_changes_nothing(scene: Scene, supervisor: Supervisor) -> None:
    worker = service(scene, supervisor)
    supervisor.hear("READY=1")
    scene.cli.config(CONFIG + "  deed2: {comand: [x]}\n")
    worker.send_signal(signal.SIGHUP)
    supervisor.hear("RELOADING=1")
    supervisor.hear("READY=1")
    scene.cli.config(CONFIG)
    scene.enqueue(3)
    eventually(lambda: scene.states() == {"completed": 3}, "it goes on")
    worker.send_signal(signal.SIGTERM)
    _, err = finish(worker, 143)
    assert "event=config_refused" in err
    assert "batchctl.yaml:" in err


def test_a_hung_loop_shows_no_life(file_scene: Scene, supervisor: Supervisor) -> None:
    """Somebody holds the store's write lock: the main loop hangs, while the process lives on."""
    scene = file_scene
    scene.cli.config(CONFIG.replace("lease: 60s", "lease: 3s"))
    worker = service(scene, supervisor, WATCHDOG_USEC="400000")
    supervisor.hear("READY=1")
    supervisor.hear("WATCHDOG=1")
    with closing(sqlite3.connect(scene.store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        eventually(lambda: supervisor.silent_for(2.0), "it is silent")
        assert worker.poll() is None
        other.execute("ROLLBACK")
    supervisor.hear("WATCHDOG=1")
    worker.send_signal(signal.SIGTERM)
    finish(worker, 143)


def test_without_a_terminal_sighup_reloads_without_a_supervisor_too(scene: Scene) -> None:
    worker = subprocess.Popen(
        ["python", "-m", "batchctl", "run", "--forever"],
        cwd=scene.folder,
        env=scene.cli.environment(),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    scene.started.append(worker)
    assert worker.stderr is not None
    while "worker_started" not in worker.stderr.readline():
        pass
    worker.send_signal(signal.SIGHUP)
    while "config_reloaded" not in worker.stderr.readline():
        pass
    worker.send_signal(signal.SIGTERM)
    finish(worker, 143)
