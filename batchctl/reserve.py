"""Space kept for cleaning up: a file beside the store, given up when the disk is full, so that deleting can begin."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

_NAME = "reserve"
_MOST = 16_000_000  # bytes: the write-ahead log of a few chunks
_LEAST = 256_000
_PLENTY = 3  # times the reserve must be free before it is made


def keep(folder: Path, store_bytes: int) -> bool:
    """Have the reserve ready in `folder`: as large as the store, within bounds. Not where it would itself fill the
    disk. Returns whether it is there."""
    path = folder / _NAME
    wanted = max(_LEAST, min(_MOST, store_bytes))
    with suppress(OSError):
        if path.stat().st_size >= min(wanted, _MOST):
            return True
        path.unlink()
    try:
        if shutil.disk_usage(folder).free < wanted * _PLENTY:
            return False
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, wanted)
        finally:
            os.close(fd)
    except OSError:  # no room, or a file system that cannot
        with suppress(OSError):
            path.unlink()
        return False
    return True


def give_up(folder: Path) -> int:
    """Free the reserve's space. Returns how many bytes that were, 0 where there was none."""
    path = folder / _NAME
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def low(folder: Path) -> bool:
    """Whether so little is free that the reserve is needed."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _LEAST * 4
    return False
