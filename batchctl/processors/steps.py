"""The `steps` processor: a chain of processors. What a step has found is stored before the next one starts.

An item has one slot from its first step to its last, whatever kind they are. Between two steps it waits for the
worker's next commit; from then on no crash makes that step run again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from batchctl.config.structs import ProcessorConfig, StepsSpec
from batchctl.model import (
    Broken,
    Cancelled,
    Completed,
    Down,
    Failed,
    HandedBack,
    Item,
    ItemError,
    Kept,
    Outcome,
    StepPath,
    StepTry,
)
from batchctl.processors.base import Context, Done, Processor
from batchctl.processors.steps_plan import Next, item_of, what_next

_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(slots=True, eq=False)
class _Job:
    """An item between `start` and `done`.

    kept      what its steps have left behind so far
    child     the processor that has it; None between two steps
    moved     a step of it has ended in this claim, so it is not as it was given to us any more
    ending    somebody wants its end; True: it goes back to the queue
    """

    item: Item
    context: Context
    done: Done
    kept: tuple[Kept, ...]
    child: Processor | None = None
    moved: bool = False
    ending: bool | None = None


class _StepContext:
    """A step's line to the worker: its progress is a part of the whole, its words stand under its name."""

    def __init__(self, outer: Context, following: Next, count: int) -> None:
        self._outer = outer
        self._position = following.position
        self._count = count
        self._title = f"== {following.label} ==\n"

    def started(self, at_ms: int | None = None) -> None:
        self._outer.started(at_ms)

    def progress(self, percent: float) -> None:
        share = min(100.0, max(0.0, float(percent)))
        self._outer.progress((100.0 * self._position + share) / self._count)

    def log(self, text: str) -> None:
        if text:
            title, self._title = self._title, ""
            self._outer.log(title + text)

    def at_step(self, step: StepTry) -> None:
        self._outer.at_step(step)

    def answered(self, origin: str) -> None:
        self._outer.answered(origin)

    def keep(self, kept: Kept, then: Callable[[bool], None] | None) -> None:
        self._outer.keep(kept, then)


class StepsProcessor:
    """See `processors.base.Processor`. `make` gives the processor of a step. Raises ConfigError where a template of a
    step is wrong.

    The worker's thread and those of the steps share the jobs, so a lock guards them; it is never held while another
    processor or the worker is called.
    """

    def __init__(self, config: ProcessorConfig, make: Callable[[ProcessorConfig], Processor], width: int) -> None:
        if not isinstance(config.spec, StepsSpec):
            raise TypeError(f"{config.name} has no steps")
        self._spec = config.spec
        lane_rate = config.lane is not None and config.lane.rate is not None
        self._heeds = config.rate is not None or lane_rate or config.adaptive  # being throttled costs nothing then
        self._width = width
        self._queue: deque[_Job] = deque()
        self._active: dict[int, _Job] = {}
        self._closing = False
        self._lock = threading.Lock()
        self._children: dict[str, Processor] = {}
        try:
            for part in self._spec.parts:
                self._children[part.name] = make(part)
        except BaseException:
            self._close_children()
            raise

    def start(self, item: Item, context: Context, done: Done) -> None:
        job = _Job(item, context, done, item.kept)
        with self._lock:
            closing = self._closing
            if not closing:
                self._queue.append(job)
        if closing:
            done(HandedBack())
        else:
            self._fill()

    def cancel(self, number: int, *, hand_back: bool) -> None:
        with self._lock:
            queued = next((job for job in self._queue if job.item.number == number), None)
            if queued is not None:
                self._queue.remove(queued)
            job = self._active.get(number)
            if job is not None:
                job.ending = hand_back
            child = None if job is None else job.child
        if queued is not None:
            queued.done(_interrupted(hand_back))
        elif child is not None:
            child.cancel(number, hand_back=hand_back)

    def withdraw(self) -> list[int]:
        with self._lock:
            waiting = [job.item.number for job in self._queue]
            self._queue.clear()
        return waiting + [number for child in self._children.values() for number in self._withdrawn(child)]

    def _withdrawn(self, child: Processor) -> list[int]:
        """Those that no step has started in this claim; where one has ended already, the item goes back with an
        outcome."""
        numbers = []
        for number in child.withdraw():
            job = self._active[number]
            if job.moved:
                self._finish(job, HandedBack())
            else:
                with self._lock:
                    del self._active[number]
                numbers.append(number)
        return numbers

    def resize(self, width: int) -> None:
        with self._lock:
            self._width = width
        for child in self._children.values():
            child.resize(width)
        self._fill()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            waiting = list(self._queue)
            self._queue.clear()
            for job in self._active.values():
                job.ending = True
        for job in waiting:
            job.done(HandedBack())
        self._close_children()
        for job in list(self._active.values()):  # between two steps
            self._finish(job, HandedBack())

    def _close_children(self) -> None:
        for child in self._children.values():
            child.close()

    # -- from step to step

    def _fill(self) -> None:
        while job := self._next():
            self._go_on(job)

    def _next(self) -> _Job | None:
        with self._lock:
            if self._closing or not self._queue or len(self._active) >= self._width:
                return None
            job = self._queue.popleft()
            self._active[job.item.number] = job
            return job

    def _go_on(self, job: _Job) -> None:
        following, job.kept = what_next(self._spec, job.item, job.kept)
        if following is None:  # all steps are done; the end of it was not stored
            self._finish(job, self._whole(job, job.kept[-1].result))
            return
        child = self._children[following.config.name]
        with self._lock:
            ending = job.ending
            if ending is None:
                job.child = child
        if ending is not None:
            self._finish(job, _interrupted(ending))
            return
        context = _StepContext(job.context, following, len(self._spec.steps))
        job.context.at_step(following.tried)
        child.start(
            item_of(job.item, following), context, lambda outcome: self._ended(job, following, context, outcome)
        )
        if job.ending is not None:  # told while it was being handed over
            child.cancel(job.item.number, hand_back=job.ending)

    def _ended(self, job: _Job, following: Next, context: _StepContext, outcome: Outcome) -> None:
        with self._lock:
            job.child = None
            job.moved = True
        outcome = _of_step(outcome, following)
        match outcome:
            case Completed():
                self._completed(job, following, context, outcome)
            case Failed(throttled=True) if self._heeds:
                self._finish(job, _named(outcome, following, context))
            case Failed(error=error) | Down(error=error) if following.has_other and following.gives_up(
                permanent=error.permanent
            ):
                context.log(outcome.log)
                self._keep(job, _given_up(job, following, error))
            case Down(error=error, retry_after=pause, log=log) if following.has_other:
                # There is another way, so its tries count, and it does not wait until the receiver is back.
                self._finish(job, _named(Failed(error, pause, log), following, context))
            case Failed() | Down() | Broken():
                self._finish(job, _named(outcome, following, context))
            case _:
                context.log(outcome.log)
                self._finish(job, replace(outcome, log=""))

    def _completed(self, job: _Job, following: Next, context: _StepContext, outcome: Completed) -> None:
        context.log(outcome.log)
        context.progress(100)
        kept = _done(job, following, outcome)
        if following.position + 1 < len(self._spec.steps):
            if outcome.origin:
                job.context.answered(outcome.origin)
            self._keep(job, kept)
            return
        job.context.keep(kept, None)
        job.kept = (*job.kept, kept)
        self._finish(job, self._whole(job, kept.result, outcome.origin))

    def _keep(self, job: _Job, kept: Kept) -> None:
        def then(go_on: bool) -> None:
            if not go_on:
                self._finish(job, HandedBack())
                return
            job.kept = (*(one for one in job.kept if one.step != kept.step), kept)
            with self._lock:
                ours = self._active.get(job.item.number) is job
            if ours:
                self._go_on(job)

        job.context.keep(kept, then)

    def _whole(self, job: _Job, result: str | None, origin: str | None = None) -> Completed:
        """The item's outcome: the last step's result, and what all of them have used and made."""
        artifacts = tuple(path for one in job.kept for path in one.artifacts)
        return Completed(
            msgspec.json.decode(result or "null"), usage=_sum(job.kept), artifacts=artifacts, origin=origin
        )

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        with self._lock:
            if self._active.get(job.item.number) is not job:
                return
            del self._active[job.item.number]
        job.done(outcome)
        self._fill()


def _interrupted(hand_back: bool) -> Outcome:
    return HandedBack() if hand_back else Cancelled()


def _of_step(outcome: Outcome, following: Next) -> Outcome:
    """A program or function that is down or answers says nothing of other steps: it stands for itself."""
    if following.config.kind != "http" and isinstance(outcome, Completed | Down):
        return replace(outcome, origin=following.config.name)
    return outcome


def _named(outcome: Failed | Down | Broken, following: Next, context: _StepContext) -> Outcome:
    """The step's name stands before its error, its log under its title."""
    context.log(outcome.log)
    error = outcome.error
    named = ItemError(error.type, f"{following.label}: {error.message}", error.permanent)
    return replace(outcome, error=named, log="")


def _done(job: _Job, following: Next, outcome: Completed) -> Kept:
    """What a finished step leaves behind. Where its fallback did it, also why."""
    before = next((one for one in job.kept if one.step == following.step.name), None)
    return Kept(
        following.step.name,
        following.position,
        following.mark,
        following.path,
        True,
        job.item.attempt - 1,
        _now(),
        _encode(outcome.result).decode(),
        before.error if before is not None and following.path is StepPath.FALLBACK else None,
        _encode(outcome.usage).decode() if outcome.usage else None,
        outcome.artifacts,
    )


def _given_up(job: _Job, following: Next, error: ItemError) -> Kept:
    step, position = following.step.name, following.position
    return Kept(step, position, following.mark, StepPath.FALLBACK, False, job.item.attempt - 1, _now(), error=error)


def _sum(kept: tuple[Kept, ...]) -> dict[str, Any] | None:
    """Numbers are added up; of other values the last one stands."""
    total: dict[str, Any] = {}
    for one in kept:
        for name, value in msgspec.json.decode(one.usage or "{}").items():
            earlier = total.get(name)
            with suppress(TypeError):
                value = value if earlier is None else earlier + value
            total[name] = value
    return total or None


def _now() -> int:
    return time.time_ns() // 1_000_000
