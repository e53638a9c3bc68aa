"""The `http` processor: items wait in order, at most `width` requests are under way, all in the shared event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchctl.config.structs import ProcessorConfig
from batchctl.masking import Masker
from batchctl.model import Cancelled, HandedBack, Item, Outcome
from batchctl.processors import event_loop
from batchctl.processors.base import Context, Done, Runtime
from batchctl.processors.http_call import HttpCall


@dataclass(slots=True)
class _Job:
    """An item on its way; `task` once it is under way."""

    item: Item
    context: Context
    done: Done
    task: asyncio.Task[Outcome] | None = None
    hand_back: bool = False

    @property
    def ended(self) -> Outcome:
        return HandedBack() if self.hand_back else Cancelled()


class HttpProcessor:
    """See `processors.base.Processor`. Raises ConfigError where a template of the config is wrong.

    The worker's thread and the event loop's share the queue, so a lock guards it; it is never held while an outcome is
    handed over or a request is made.
    """

    def __init__(self, config: ProcessorConfig, runtime: Runtime, secrets: Mapping[str, Any], masker: Masker) -> None:
        self._call = HttpCall(config, secrets, masker)
        self._width = runtime.width
        self._lock = threading.Lock()
        self._queue: deque[_Job] = deque()
        self._running: dict[int, _Job] = {}
        self._filling = False
        self._loop = event_loop.borrow()

    def start(self, item: Item, context: Context, done: Done) -> None:
        with self._lock:
            self._queue.append(_Job(item, context, done))
        self._wake()

    def cancel(self, number: int, *, hand_back: bool) -> None:
        with self._lock:
            job = self._running.get(number)
            queued = None if job else next((j for j in self._queue if j.item.number == number), None)
            if job is not None:
                job.hand_back = hand_back
            elif queued is not None:
                queued.hand_back = hand_back
                self._queue.remove(queued)
        if job is not None and job.task is not None:
            self._loop.soon(job.task.cancel)
        elif queued is not None:
            queued.done(queued.ended)

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
        """What still runs is handed back."""
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
            for job in [*waiting, *self._running.values()]:
                job.hand_back = True
        for job in waiting:
            job.done(job.ended)
        self._loop.finish(self._end())
        event_loop.give_back(self._loop)

    async def _end(self) -> None:
        tasks = [job.task for job in self._running.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._call.close()

    def _wake(self) -> None:
        """Have the loop start what there is room for; one call for a whole handful of new items."""
        with self._lock:
            needed = bool(self._queue) and len(self._running) < self._width and not self._filling
            self._filling = self._filling or needed
        if needed:
            self._loop.soon(self._fill)

    def _fill(self) -> None:
        with self._lock:
            self._filling = False
            while self._queue and len(self._running) < self._width:
                job = self._queue.popleft()
                self._running[job.item.number] = job
                job.task = self._loop.loop.create_task(self._call.attempt(job.item, job.context))
                job.task.add_done_callback(lambda task, job=job: self._finish(job, task))  # type: ignore[misc]

    def _finish(self, job: _Job, task: asyncio.Task[Outcome]) -> None:
        with self._lock:
            del self._running[job.item.number]
        job.done(job.ended if task.cancelled() else task.result())
        self._fill()
