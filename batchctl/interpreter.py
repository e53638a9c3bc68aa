"""Python's own settings while a worker runs: many threads, and many objects that soon die."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SWITCH = 0.0005  # seconds
_YOUNG = 10_000  # objects between two collections


@contextmanager
def many_small_things() -> Iterator[None]:
    """The lock goes round sooner: while the main thread goes through many outcomes, slots would stand still for
    Python's own 5 ms. And the garbage collector comes rarely, and leaves alone what the program has loaded."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_SWITCH)
    gc.freeze()
    gc.set_threshold(_YOUNG, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(interval)
