"""How far something long is, in one line that is written over: only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from batchctl.console.settings import fancy, settings

_PAUSE = 0.2  # seconds between two looks


@contextmanager
def far(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A function that is told (done, all) and shows it as `doing 42%`."""
    if settings.quiet or not fancy(sys.stderr):
        yield lambda _done, _everything: None
        return
    due = 0.0

    def tell(done: int, everything: int) -> None:
        nonlocal due
        now = time.monotonic()
        if everything and now >= due:
            due = now + _PAUSE
            sys.stderr.write(f"\r{doing} {100 * done // everything}%")
            sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
