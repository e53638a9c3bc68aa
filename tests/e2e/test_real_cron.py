"""Debian's cron runs what `schedule cron --install` put there, and drains a batch. In a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import debian
import pytest
from conftest import Cli

from e2e.kit import eventually

CONFIG = (
    "store: q.db\nworker: {min_free: 0}\nprocessors:\n  note: {command: [touch, 'done-{{ id }}'], max_retries: 0}\n"
)
# What cron and crontab share with the rest of the machine is covered by empty folders that only they see.
COVER = """
set -e
mount -t tmpfs -o mode=1730 none /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mount -t tmpfs none /etc/cron.d
mount -t tmpfs none /run
mount --bind /dev/null /etc/crontab
exec "$0" "$@"
"""


@pytest.fixture
def inside(cli: Cli) -> Iterator[list[str]]:
    """The words before a command that run it where cron is."""
    if os.geteuid() or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("only root may cover folders")
    cron = debian.program("cron", "cron")
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", COVER, cron, "-f"]
    daemon = subprocess.Popen(words, env=cli.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    enter = ["nsenter", f"--mount=/proc/{daemon.pid}/ns/mnt", f"--wdns={cli.folder}"]
    try:
        eventually(lambda: daemon.poll() is not None or _runs(daemon.pid, "cron"), "cron runs")
        if daemon.poll() is not None:
            pytest.skip(f"cron does not run here: {daemon.communicate()[1].strip()}")
        yield enter
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate()


def _runs(pid: int, name: str) -> bool:
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:  # noqa: PTH123 - it may be gone at any moment
        return file.read().strip() == name


@pytest.mark.slow
def test_cron_drains_a_batch(cli: Cli, inside: list[str]) -> None:
    """Cron looks once a minute, so this takes up to one."""
    cli.config(CONFIG)

    def batchctl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*inside, sys.executable, "-m", "batchctl", *words]
        return subprocess.run(command, cwd=cli.folder, env=cli.environment(), capture_output=True, text=True)

    others = "# mine\n0 3 1 1 * true\n"
    subprocess.run([*inside, "crontab", "-"], input=others, text=True, check=True, env=cli.environment())
    batch = cli.ok("enqueue", "orders", "--id", "1", "--id", "2", "-p", "note", "--print-id").strip()
    done = batchctl("schedule", "cron", "--scope", "user", "--every", "1m", "--install")
    assert done.returncode == 0, done.stderr
    assert "it was installed a moment ago" in batchctl("doctor").stdout
    ended = [cli.folder / "done-1", cli.folder / "done-2"]
    for _ in range(2):
        try:
            eventually(lambda: all(path.exists() for path in ended), "cron has run check")
            break
        except AssertionError:  # cron knows a crontab by the second in which it was put there, and may have looked then
            assert batchctl("schedule", "cron", "--scope", "user", "--every", "1m", "--install").returncode == 0
    eventually(lambda: cli.json("show", batch)["batch"]["status"] == "completed", "the batch has ended")
    eventually(lambda: "the last check ended" in batchctl("doctor").stdout, "the check has ended")
    assert "ok       schedule: cron, every 1 min" in batchctl("doctor").stdout
    done = batchctl("schedule", "cron", "--scope", "user", "--remove")
    assert done.returncode == 0, done.stderr
    left = subprocess.run([*inside, "crontab", "-l"], capture_output=True, text=True, check=True, env=cli.environment())
    assert left.stdout.endswith(others)
    assert "batchctl" not in left.stdout
