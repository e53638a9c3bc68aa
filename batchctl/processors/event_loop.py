"""One event-loop thread for everything asynchronous in a worker.

All HTTP items of all processors share it: 64 requests in flight need one thread and one selector, and a client for
each thread reached less than half the rate.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_guard = threading.Lock()
_shared: EventLoop | None = None


class EventLoop:
    """A running loop in a thread of its own. `borrow` one, `give_back` when done; the last to do so ends it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.borrowers = 0
        self._thread = threading.Thread(target=self._run, name="event-loop", daemon=True)
        self._thread.start()

    def soon(self, call: Callable[..., object], *args: Any) -> None:
        """Let the loop call it; returns at once, from any thread."""
        self.loop.call_soon_threadsafe(call, *args)

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop and wait for its value. Not from the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    def end(self) -> None:
        self.soon(self.loop.stop)
        self._thread.join()


def borrow() -> EventLoop:
    """The worker's event loop; the first to ask starts it."""
    global _shared
    with _guard:
        if _shared is None:
            _shared = EventLoop()
        _shared.borrowers += 1
        return _shared


def give_back(loop: EventLoop) -> None:
    """End the loop and its thread where nobody else uses it."""
    global _shared
    with _guard:
        loop.borrowers -= 1
        if loop.borrowers:
            return
        _shared = None
    loop.end()
