"""What goes on beside a drain, in a thread of its own: looks at the store again and again, and once more at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from batchctl.errors import BatchctlError
from batchctl.store import Store

_PAUSE = 15.0  # seconds after the store could not be used


class Background:
    """Calls `look` every `every` seconds, from `start` to `end`.

    look         is given what opens the thread's own connection: made by `open_store` when first asked for, closed at
                 the end. Where it raises a BatchctlError or an OSError, that is the worker's to tell about: there is a
                 pause, then it is called again
    """

    def __init__(
        self,
        name: str,
        open_store: Callable[[], Store],
        look: Callable[[Callable[[], Store]], None],
        *,
        every: float,
    ) -> None:
        self._open_store = open_store
        self._look = look
        self._every = every
        self._store: Store | None = None
        self._stop = threading.Event()
        self._finally = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._stop.is_set()

    def start(self) -> None:
        self._thread.start()

    def end(self, *, once_more: bool, patience: float) -> None:
        """Look once more (or no more), then stop; waits so many seconds for it at most. May be called again."""
        if not self._thread.is_alive():
            return
        self._finally = once_more
        self._stop.set()
        self._thread.join(patience)

    def _work(self) -> None:
        try:
            while not self._stop.wait(self._every):
                self._pass()
            if self._finally:
                self._pass()
        finally:
            if self._store is not None:
                self._store.close()

    def _pass(self) -> None:
        try:
            self._look(self._connection)
        except (BatchctlError, OSError):
            self._stop.wait(_PAUSE)

    def _connection(self) -> Store:
        self._store = self._store or self._open_store()
        return self._store
