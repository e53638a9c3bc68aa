"""Sends in the background while a worker drains: who waits for a message should not wait for the other batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from batchctl.background import Background
from batchctl.config import Config
from batchctl.notify.sender import PATIENCE, Sending, send_due
from batchctl.store import Store

_LOOK = 1.0  # seconds between looks at the outbox
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
        self._config = config
        self._on_problem = on_problem
        self._org = org
        self._background = Background("courier", open_store, self._look, every=_LOOK)

    def __enter__(self) -> Self:
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error nothing more is begun."""
        self.end(send_rest=kind is None)

    def end(self, *, send_rest: bool) -> None:
        """Send what is due now (or begin nothing more), then stop. May be called twice."""
        rest = send_rest and not self._background.ending
        self._background.end(once_more=rest, patience=3 * PATIENCE if rest else _LAST_WORDS)

    def _look(self, connection: Callable[[], Store]) -> None:
        """One look at the outbox."""
        config = self._config()
        if not config.notifications:
            return
        done = send_due(connection(), config, deadline=time.monotonic() + PATIENCE, org=self._org)
        self.total.sent += done.sent
        self.total.failed += done.failed
        self.total.dead += done.dead
        if self._on_problem is None:
            self.total.errors += done.errors
        else:
            for problem in done.errors:
                self._on_problem(problem)
