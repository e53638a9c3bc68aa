"""Process groups: how they are ended, who of them still lives, and how an exit reads in words."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from batchctl.processors import quick

_POLL = 0.02
_REAP = 1.0  # seconds that killed processes may take to vanish


def signal_group(group: int, number: int) -> bool:
    """Send the signal; False where the group has no member (any more), or what is left of it runs as somebody else."""
    return quick.kill_group(group, number)


def end_rest(group: int, patience: float) -> None:
    """End what a process left behind in its group: TERM, after `patience` seconds KILL. Returns when they are gone.

    Costs one system call where nothing was left.
    """
    if not signal_group(group, signal.SIGTERM):
        return
    if not _gone(group, patience):
        signal_group(group, signal.SIGKILL)
        _gone(group, _REAP)


def _gone(group: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while alive(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def alive(group: int) -> list[int]:
    """The members that still run. Zombies don't count: in a container nobody may ever reap them."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    except PermissionError:
        pass
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs_in(entry, group)]


def _runs_in(entry: Path, group: int) -> bool:
    try:
        stat = (entry / "stat").read_bytes()
    except OSError:
        return False
    state, _, member_of = stat[stat.rindex(b")") + 2 :].split(maxsplit=3)[:3]
    return int(member_of) == group and state not in (b"Z", b"X")


def describe(status: int) -> str:
    """An exit code, or a negative signal number, in words."""
    if status >= 0:
        return f"exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}" + (" (out of memory?)" if -status == signal.SIGKILL else "")


def freeze(pid: int, patience: float = 0.5) -> bool:
    """Stop the process and wait until it stands still; False where it ended before that. Undo with SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return found.si_code == os.CLD_STOPPED
        time.sleep(0.001)
    return True  # deep in a system call: it can't touch its mark there either
