"""The `http` processor: items wait in order, at most `width` requests are under way, all in the shared curl thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchctl.config.structs import ProcessorConfig
from batchctl.masking import Masker
from batchctl.model import Cancelled, HandedBack, Item, Outcome
from batchctl.processors import curl_loop
from batchctl.processors.base import Context, Done, Runtime
from batchctl.processors.http_call import Attempt, HttpCall


@dataclass(slots=True)
class _Job:
    """An item that waits for its turn."""

    item: Item
    context: Context
    done: Done


class HttpProcessor:
    """See `processors.base.Processor`. Raises ConfigError where a template of the config is wrong.

    The worker's thread and the curl thread share the queue, so a lock guards it; it is never held while an outcome is
    handed over or a request is made.
    """

    def __init__(self, config: ProcessorConfig, runtime: Runtime, secrets: Mapping[str, Any], masker: Masker) -> None:
        self._loop = curl_loop.borrow()
        try:
            self._call = HttpCall(config, self._loop, secrets, masker, runtime.closed)
        except BaseException:
            curl_loop.give_back(self._loop)
            raise
        self._width = runtime.width
        self._lock = threading.Lock()
        self._queue: deque[_Job] = deque()
        self._running: dict[int, Attempt] = {}
        self._filling = False
        self._empty = threading.Event()

    def start(self, item: Item, context: Context, done: Done) -> None:
        with self._lock:
            self._queue.append(_Job(item, context, done))
        self._wake()

    def cancel(self, number: int, *, hand_back: bool) -> None:
        outcome = _ended(hand_back)
        with self._lock:
            attempt = self._running.get(number)
            queued = None if attempt else next((job for job in self._queue if job.item.number == number), None)
            if queued is not None:
                self._queue.remove(queued)
        if attempt is not None:
            self._loop.soon(attempt.cancel, outcome)
        elif queued is not None:
            queued.done(outcome)

    def withdraw(self) -> list[int]:
        with self._lock:
            numbers = [job.item.number for job in self._queue]
            self._queue.clear()
        return numbers

    def resize(self, width: int) -> None:
        with self._lock:
            self._width = width
        self._wake()

    def close(self) -> None:
        """What still waits or runs is handed back."""
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
        for job in waiting:
            job.done(_ended(hand_back=True))
        self._loop.soon(self._end_all)
        self._empty.wait()
        self._call.close()
        curl_loop.give_back(self._loop)

    def _end_all(self) -> None:
        for attempt in list(self._running.values()):
            attempt.cancel(_ended(hand_back=True))
        self._empty.set()

    def _wake(self) -> None:
        """Have the curl thread start what there is room for; one call for a whole handful of new items."""
        with self._lock:
            needed = bool(self._queue) and len(self._running) < self._width and not self._filling
            self._filling = self._filling or needed
        if needed:
            self._loop.soon(self._fill)

    def _fill(self) -> None:
        while attempt := self._next():
            attempt.begin()

    def _next(self) -> Attempt | None:
        with self._lock:
            self._filling = False
            if not self._queue or len(self._running) >= self._width:
                return None
            job = self._queue.popleft()
            attempt = Attempt(self._call, job.item, job.context, lambda outcome: self._finish(job, outcome))
            self._running[job.item.number] = attempt
        return attempt

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        with self._lock:
            del self._running[job.item.number]
        job.done(outcome)
        self._wake()


def _ended(hand_back: bool) -> Outcome:
    return HandedBack() if hand_back else Cancelled()
