"""A worker's contact with its store: tries again where it is lost, and ends the worker's work before its lease does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from batchctl.errors import StoreInterrupted

_T = TypeVar("_T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds
_LEAST_PATIENCE = 60.0  # seconds
_SHARE = 2 / 3  # of the lease: then the work must end, so that it has ended when another host takes it over


class Contact:
    """Enter it where the work begins.

    lease      seconds that others wait for a heartbeat before they take over what we hold; None: they need not wait,
               for they see whether we live
    end_work   told once when the lease is running out, from another thread
    hurried    whether the user wants no more patience
    waiting    told before each pause
    """

    def __init__(
        self,
        lease: float | None,
        *,
        end_work: Callable[[], None],
        hurried: Callable[[], bool],
        waiting: Callable[[], None],
    ) -> None:
        self._lease = lease
        self._patience = max(_LEAST_PATIENCE, 2 * (lease or 0.0))
        self._end_work = end_work
        self._hurried = hurried
        self._waiting = waiting
        self._lost = False
        self._seen = time.monotonic()
        self._over = threading.Event()
        self._guard: threading.Thread | None = None

    def __enter__(self) -> Contact:
        self.seen(time.monotonic())
        if self._lease is not None:
            self._guard = threading.Thread(target=self._watch, args=(self._lease * _SHARE,), name="lease", daemon=True)
            self._guard.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._guard is not None:
            self._guard.join()

    def seen(self, at: float) -> None:
        """The store has a heartbeat of ours that was begun then (time.monotonic())."""
        self._seen = at

    def keep(self, act: Callable[[], _T]) -> _T:
        """Do a transaction, again and again where it is ended from outside. Raises StoreInterrupted in the end; from
        then on at once."""
        give_up, pause = None, _FIRST_PAUSE
        while True:
            try:
                return act()
            except StoreInterrupted:
                give_up = give_up or time.monotonic() + self._patience
                if self._lost or self._hurried() or time.monotonic() > give_up:
                    self._lost = True
                    raise
            self._waiting()
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come back at once
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _watch(self, most: float) -> None:
        """The main thread may hang in a call to a host that is cut off."""
        told: float | None = None
        while not self._over.wait(max(0.01, min(1.0, self._seen + most - time.monotonic()))):
            seen = self._seen
            if told != seen and time.monotonic() > seen + most:
                told = seen
                self._end_work()
