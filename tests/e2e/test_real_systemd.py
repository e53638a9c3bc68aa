"""A real `systemd --user` starts, watches, reloads and stops what `schedule systemd --install` put there.

In a mount namespace, because systemd looks for folders that only a machine booted by it has.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import debian
import pytest
from conftest import Cli

from e2e.kit import eventually

CONFIG = (
    "store: q.db\nworker: {min_free: 0}\nprocessors:\n  note: {command: [touch, 'done-{{ id }}'], max_retries: 0}\n"
)
LATER = "  later: {command: [cp, batchctl.yaml, 'copy-{{ id }}']}\n"
# Shared, but with nobody outside: credentials are mounted by a helper in a namespace of its own.
PREPARE = """
mount --make-rshared / && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system && exec "$@"
"""


@dataclass
class Manager:
    """A user's systemd of its own, and the program beside it."""

    cli: Cli
    process: subprocess.Popen[str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", f"--wdns={self.cli.folder}"]
        env = self.cli.environment()
        return subprocess.run([*enter, *words], env=env, capture_output=True, text=True, check=False)

    def ctl(self, *words: str) -> str:
        done = self.run("systemctl", "--user", *words)
        assert done.returncode == 0, done.stderr + self.run("systemctl", "--user", "status", *words[-1:]).stdout
        return done.stdout

    def schedule(self, *words: str) -> str:
        done = self.run(sys.executable, "-m", "batchctl", "schedule", "systemd", "--scope", "user", *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def fact(self, unit: str, name: str) -> str:
        return self.ctl("show", "--value", f"--property={name}", unit).strip()


@pytest.fixture
def manager(cli: Cli) -> Iterator[Manager]:
    if os.geteuid() or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("only root may make the folders that systemd looks for")
    debian.program("systemctl", "systemd")
    places = (Path("/usr/lib/systemd/systemd"), Path("/lib/systemd/systemd"))
    binary = next((path for path in places if path.exists()), None)
    if binary is None:
        pytest.skip("there is no systemd")
    with tempfile.TemporaryDirectory(prefix="bc") as runtime:  # its sockets have long names, so a short one
        cli.env["XDG_RUNTIME_DIR"] = runtime
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh", str(binary), "--user"]
        with (cli.folder / "systemd.log").open("w") as log:
            process = subprocess.Popen(words, env=cli.environment(), stdout=log, stderr=log, text=True)
            here = Manager(cli, process)
            try:
                eventually(lambda: process.poll() is not None or _up(here), "systemd is up")
                if process.poll() is not None:
                    pytest.skip(f"no systemd runs here: {(cli.folder / 'systemd.log').read_text().strip()}")
                yield here
            finally:
                process.send_signal(signal.SIGRTMIN + 24)  # exit
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _up(manager: Manager) -> bool:
    return manager.run("systemctl", "--user", "is-system-running").stdout.strip() in ("running", "degraded")


@pytest.mark.slow
def test_the_worker_is_ready_reloads_is_watched_and_stops(cli: Cli, manager: Manager) -> None:
    cli.config(CONFIG)
    unit = "batchctl-worker.service"
    extra = cli.folder / "home/.config/systemd/user" / f"{unit}.d" / "quick.conf"
    extra.parent.mkdir(parents=True)
    extra.write_text("[Service]\nWatchdogSec=8s\nRestartSec=100ms\n")
    assert "installed: " in manager.schedule("--worker", "--install")  # returns once the worker has said it is ready
    assert manager.fact(unit, "ActiveState") == "active"
    assert manager.fact(unit, "StatusText") == "3 slots for note"
    cli.ok("enqueue", "orders", "--id", "1", "-p", "note")
    eventually(lambda: (cli.folder / "done-1").exists(), "the worker does what comes")
    pid = manager.fact(unit, "MainPID")

    cli.config(CONFIG + LATER)
    manager.ctl("reload", unit)
    cli.ok("enqueue", "orders", "--id", "2", "-p", "later")
    eventually(lambda: (cli.folder / "copy-2").exists(), "it knows the new processor")
    assert manager.fact(unit, "MainPID") == pid

    os.kill(int(pid), signal.SIGSTOP)
    eventually(lambda: manager.fact(unit, "MainPID") not in (pid, "0"), "the hung one was ended and replaced")
    assert manager.fact(unit, "NRestarts") == "1"

    eventually(lambda: manager.fact(unit, "ActiveState") == "active", "it is ready again")
    manager.ctl("stop", unit)
    assert manager.fact(unit, "Result") == "success"
    assert manager.fact(unit, "ExecMainStatus") == "143"
    assert "removed: " in manager.schedule("--worker", "--remove")
    assert not (extra.parent.parent / unit).exists()


@pytest.mark.slow
def test_the_timer_and_its_service(cli: Cli, manager: Manager) -> None:
    """The hardened service reaches all that a check needs, a secret of a credential included."""
    cli.config(CONFIG.replace("max_retries: 0", 'max_retries: 0, env: {TOKEN: "${TOKEN}"}'))
    (cli.folder / "credentials").mkdir(mode=0o700)
    (cli.folder / "credentials" / "TOKEN").write_text("open-sesame\n")
    cli.ok("enqueue", "orders", "--id", "1", "-p", "note")
    manager.schedule("--install", "--every", "1h")
    assert "batchctl-check.timer" in manager.ctl("list-timers", "--all")
    manager.ctl("start", "batchctl-check.service")
    assert (cli.folder / "done-1").exists()
    done = manager.run(sys.executable, "-m", "batchctl", "doctor")
    assert done.returncode == 0, done.stdout
    found = done.stdout
    assert "TOKEN is not set in this shell; the service has it as a credential" in found
    assert re.search(r"^ok       schedule: systemd, every 1 h", found, re.MULTILINE)
    assert re.search(r"^ok       secrets: ", found, re.MULTILINE)
    manager.schedule("--remove")
    assert "batchctl-check.timer" not in manager.ctl("list-timers", "--all")
    again = manager.schedule("--remove")
    assert "nothing of that name was installed" in again
    assert not list((cli.folder / "home/.config/systemd/user").glob("batchctl*"))
