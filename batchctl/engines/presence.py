"""Who is alive, told by the kernel: a living process holds a lock on a file of its id, and any end frees it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class Presence:
    """Holds the lock of `name` in `folder` until it is left or the process ends, however it ends."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.lock"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def leave(self) -> None:
        with suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


def alive(folder: Path, name: str) -> bool:
    """True while a process holds the lock of `name`."""
    try:
        fd = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
