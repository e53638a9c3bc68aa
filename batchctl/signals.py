"""The signals that tell a worker to stop, or to read its config again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import TracebackType


class Signals:
    """Enter it to hear them, leave it and all is as before.

    wake     called in the signal handler, so that the main thread looks
    reloads  whether SIGHUP means to read the config again; else it stops

    first    the number of the first that said stop
    count    how many said so
    hung_up  whether to read the config again; whoever does so resets it
    """

    def __init__(self, wake: Callable[[], None], *, reloads: bool) -> None:
        self.first: int | None = None
        self.count = 0
        self.hung_up = False
        self._wake = wake
        self._reloads = reloads

    @property
    def hurried(self) -> bool:
        """Whether the user wants no more patience."""
        return self.count > 1

    def __enter__(self) -> Signals:
        self._previous = {number: signal.signal(number, self._hear) for number in _stopping()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP and self._reloads:
            self.hung_up = True
        else:
            self.first = self.first or number
            self.count += 1
        self._wake()


def _stopping() -> list[signal.Signals]:
    """A terminal that closes is a stop like others, unless `nohup` has us ignore it."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers
