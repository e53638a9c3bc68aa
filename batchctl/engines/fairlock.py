"""A fair queue before SQLite's write lock.

SQLite's busy handler polls with pauses of up to 100 ms, so a process that commits chunk after chunk starves everybody
else. Here a writer first takes the ticket, then the lock, then gives the ticket back: whoever commits in a loop
must queue behind the one that already waits. Programs that know nothing of it still meet SQLite's own lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

_PAUSE = 0.0005


class FairLock:
    """Two lock files in `folder`; held locks end with the process."""

    def __init__(self, folder: Path) -> None:
        self._ticket = _open(folder / "ticket.lock")
        self._lock = _open(folder / "write.lock")

    def acquire(self, timeout: float) -> bool:
        """Wait for the turn, at most `timeout` seconds. False where it did not come."""
        deadline = time.monotonic() + timeout
        if not _take(self._ticket, deadline):
            return False
        try:
            return _take(self._lock, deadline)
        finally:
            _free(self._ticket)

    def release(self) -> None:
        _free(self._lock)

    def close(self) -> None:
        for fd in (self._ticket, self._lock):
            if fd is not None:
                os.close(fd)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None  # a folder that may not be written: SQLite itself will say what is wrong


def _take(fd: int | None, deadline: float) -> bool:
    if fd is None:
        return True
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                return True  # a file system without flock: SQLite's own lock remains
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)


def _free(fd: int | None) -> None:
    if fd is not None:
        fcntl.flock(fd, fcntl.LOCK_UN)
