"""Sends in the background while a worker drains: who waits for a message should not wait for the other batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from batchctl.config import Config
from batchctl.errors import BatchctlError
from batchctl.notify.sender import PATIENCE, Sending, send_due
from batchctl.store import Store

_LOOK = 1.0  # seconds between looks at the outbox
_PAUSE = 15.0  # seconds after the store could not be used
_LAST_WORDS = 5.0  # seconds for what is being sent when nothing more shall be begun


class Courier:
    """A block that sends while it lasts, and once more at its end. Does nothing while the config has no notifications.

    `open_store` opens another connection, for the thread alone; `config` gives the config that holds at the moment.
    `total` says what came of it, once the block has ended; with `on_problem` its errors go there instead, at once and
    from the thread. `org`: only this organization's messages.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        config: Callable[[], Config],
        on_problem: Callable[[str], None] | None = None,
        org: str | None = None,
    ) -> None:
        self.total = Sending()
        self._open_store = open_store
        self._config = config
        self._on_problem = on_problem
        self._org = org
        self._stop = threading.Event()
        self._finally = False
        self._thread = threading.Thread(target=self._work, name="courier", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error nothing more is begun."""
        self.end(send_rest=kind is None)

    def end(self, *, send_rest: bool) -> None:
        """Send what is due now (or begin nothing more), then stop. May be called twice."""
        if not self._thread.is_alive():
            return
        self._finally = send_rest and not self._stop.is_set()
        self._stop.set()
        self._thread.join(3 * PATIENCE if self._finally else _LAST_WORDS)

    def _work(self) -> None:
        store: Store | None = None
        try:
            while not self._stop.wait(_LOOK):
                store = self._pass(store)
            if self._finally:
                store = self._pass(store)
        finally:
            if store is not None:
                store.close()

    def _pass(self, store: Store | None) -> Store | None:
        """One look at the outbox. A store or config that cannot be used is the worker's to tell about."""
        try:
            config = self._config()
            if not config.notifications:
                return store
            store = store or self._open_store()
            done = send_due(store, config, deadline=time.monotonic() + PATIENCE, org=self._org)
        except (BatchctlError, OSError):
            self._stop.wait(_PAUSE)
            return store
        self.total.sent += done.sent
        self.total.failed += done.failed
        self.total.dead += done.dead
        if self._on_problem is None:
            self.total.errors += done.errors
        else:
            for problem in done.errors:
                self._on_problem(problem)
        return store
