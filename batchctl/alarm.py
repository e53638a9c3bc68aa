"""Calls functions at their time, to the millisecond, from a thread of its own that exists only while there is need."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from itertools import count


class Alarm:
    """For moments that the main thread would be late for: it may be in the middle of a commit."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._changed = threading.Condition()
        self._running = False

    def set(self, at: float, act: Callable[[], None]) -> None:
        """Call `act` at that time (time.monotonic()). It must not raise and not take long."""
        with self._changed:
            heapq.heappush(self._waiting, (at, next(self._order), act))
            if self._running:
                self._changed.notify()
            else:
                self._running = True
                threading.Thread(target=self._run, name="alarm", daemon=True).start()

    def _run(self) -> None:
        while (act := self._next()) is not None:
            act()

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next one; None where there is none any more."""
        with self._changed:
            while self._waiting:
                rest = self._waiting[0][0] - time.monotonic()
                if rest <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(rest)
            self._running = False
            return None
