"""This machine and its processes, as Linux tells them: boot id, pid namespace, start times, environments."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MARK = "BATCHCTL_WORKER"
_PROC = Path("/proc")
_PATIENCE = 10.0  # seconds that a killed process may take to disappear (it may hang in the kernel)


@dataclass(frozen=True, slots=True)
class Host:
    """What tells one running system from another: a reboot changes `boot_id`."""

    name: str
    boot_id: str
    pid_namespace: str


@cache
def here() -> Host:
    """The system this process runs on. BATCHCTL_HOST_ID replaces the name where hosts share one."""
    name = os.environ.get("BATCHCTL_HOST_ID") or socket.gethostname()
    return Host(name, _read(_PROC / "sys/kernel/random/boot_id"), _link(_PROC / "self/ns/pid"))


def monotonic_ms() -> int:
    """Milliseconds that this system has been awake: one clock for its processes, blind to clock changes and sleep."""
    return time.monotonic_ns() // 1_000_000


def start_time(pid: int) -> str:
    """The kernel's start time of a process in clock ticks since boot; "" where there is none of that number."""
    text = _read(_PROC / str(pid) / "stat")
    return text.rpartition(")")[2].split()[19] if text else ""


def descendants(worker_id: str) -> list[int]:
    """Processes that carry the worker's mark in their environment, whoever their parent is now."""
    mark = f"{MARK}={worker_id}".encode()
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_descendants(worker_id: str, *, grace: float = 2.0) -> bool:
    """TERM, then KILL after `grace` seconds, and wait until all are gone. False where they would not go."""
    _signal(descendants(worker_id), signal.SIGTERM)
    begun = time.monotonic()
    while left := _running(descendants(worker_id)):
        waited = time.monotonic() - begun
        if waited > grace:
            _signal(left, signal.SIGKILL)
        if waited > grace + _PATIENCE:
            return False
        time.sleep(0.02)
    return True


def kill(pid: int, started: str) -> bool:
    """KILL the process of that number and start time, and wait until it is gone. False where it would not go."""
    begun = time.monotonic()
    while start_time(pid) == started and _running([pid]):
        _signal([pid], signal.SIGKILL)
        if time.monotonic() - begun > _PATIENCE:
            return False
        time.sleep(0.02)
    return True


def _running(pids: list[int]) -> list[int]:
    """Those that are not zombies: a zombie touches nothing any more."""
    alive = []
    for pid in pids:
        state = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()[:1]
        if state and state[0] not in ("Z", "X"):
            alive.append(pid)
    return alive


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
