"""Files in the folder beside the store that no living process and no row owns."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

_NAMES = re.compile(r"([wl][0-9a-f]{16})(?:\.inflight|\.lock)?")
_AGE = 600.0  # seconds: who begins makes files before it makes its row


def find(folder: Path, known: Collection[str], alive: Callable[[str], bool]) -> list[Path]:
    """Spools, marks and locks of processes that are gone and left no row. `known` are the workers that have one."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = _NAMES.fullmatch(path.name)
        if match is None or match[1] in known or alive(match[1]):
            continue
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _AGE:
                found.append(path)
    return found


def remove(path: Path) -> int:
    """Take a file or folder away. Returns the bytes that were in it."""
    size = _size(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size


def _size(path: Path) -> int:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            return sum(_size(inner) for inner in path.iterdir())
        return path.lstat().st_size
    return 0
