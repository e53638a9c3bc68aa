"""Who is alive, told by the kernel: a living process holds a lock on a file of its id, and any end frees it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Presence:
    """Holds the lock of `name` in `folder` until it is left or the process ends, however it ends. `fd`: of the lock
    where it is held already."""

    def __init__(self, folder: Path, name: str, fd: int | None = None) -> None:
        self._path = folder / f"{name}.lock"
        self._fd = _hold(self._path) if fd is None else fd

    def leave(self) -> None:
        with suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


def _hold(path: Path) -> int:
    """Lock the file of that name. `forget` may take it away between our open and our lock; then there is a new one."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        os.close(fd)


def take(folder: Path, name: str, facts: str) -> Presence | None:
    """The lock of `name` with `facts` about us for others to read; None where somebody has it."""
    path = folder / f"{name}.lock"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), path.stat()):
                os.ftruncate(fd, 0)
                os.pwrite(fd, facts.encode(), 0)
                return Presence(folder, name, fd)
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:  # `forget` took it away between our open and our lock
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def holder(folder: Path, name: str) -> str | None:
    """The facts about who has the lock of `name`; None where nobody has it."""
    if not alive(folder, name):
        return None
    try:
        return (folder / f"{name}.lock").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def names(folder: Path) -> list[str]:
    """Who is or was here: the names of all marks but the store's own locks."""
    found = (path.stem for path in folder.glob("*.lock"))
    return [name for name in found if name not in ("ticket", "write")]


def forget(folder: Path, name: str, *, with_it: Callable[[], None] = lambda: None) -> None:
    """Take away the mark of a process that is gone, and `with_it` what else it left, while nobody can become one of
    that name; of a living one everything stays."""
    path = folder / f"{name}.lock"
    with suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), path.stat()):  # else somebody else was faster, and it is another's now
                with_it()
                path.unlink()
        finally:
            os.close(fd)


def known(folder: Path, name: str) -> bool:
    """True where somebody of that name is or was here."""
    return (folder / f"{name}.lock").exists()


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
