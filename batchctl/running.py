"""One item at work: its Context while a processor has it, and what the worker hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from batchctl.inflight import InFlight
from batchctl.model import Item, Kept, Outcome, StepTry
from batchctl.processors.base import Processor

_LOG_LIMIT = 262_144


def wall_clock() -> int:
    """This host's own, in ms UTC."""
    return time.time_ns() // 1_000_000


class Ended(msgspec.Struct, frozen=True):
    """An item's end. `started_at` is None where it was never touched; `log` is what was not flushed yet; `step` is
    where it ended, `kept` what that step leaves behind, `answers` the receivers of the steps before it."""

    item: Item
    outcome: Outcome
    started_at: int | None
    ended_at: int
    log: str
    step: StepTry | None = None
    kept: Kept | None = None
    answers: tuple[str, ...] = ()


class Keeping(msgspec.Struct, frozen=True):
    """A step's result that is to be stored before the item goes on."""

    item: Item
    kept: Kept
    then: Callable[[bool], None]


class Running:
    """The Context of one item: notes when it started, its progress and its log until the worker collects them. `clock`
    tells what is stored; this host's own may differ."""

    __slots__ = (
        "_answers",
        "_clock",
        "_keep",
        "_log",
        "_marks",
        "_slot",
        "item",
        "kept",
        "news",
        "processor",
        "started_at",
        "step",
    )

    def __init__(
        self,
        item: Item,
        processor: Processor,
        marks: InFlight,
        keep: Callable[[Keeping], None],
        clock: Callable[[], int],
    ) -> None:
        self.item = item
        self.processor = processor
        self.started_at: int | None = None
        self.news: float | None = None
        self.step: StepTry | None = None
        self.kept: Kept | None = None
        self._answers: dict[str, None] = {}
        self._keep = keep
        self._clock = clock
        self._marks = marks
        self._slot: int | None = None
        self._log: list[str] = []

    def started(self, at_ms: int | None = None) -> None:
        here = wall_clock()
        now = here if at_ms is None else at_ms
        if self.started_at is None:  # a later step does not begin it anew
            self.started_at = now + self._clock() - here
        if at_ms is None and self._slot is None:
            self._slot = self._marks.take()
            self._marks.mark(self._slot, self.item.number, self.item.claim_no, now)

    def progress(self, percent: float) -> None:
        self.news = min(100.0, max(0.0, float(percent)))

    def log(self, text: str) -> None:
        self._log.append(text)

    def at_step(self, step: StepTry) -> None:
        self.step = step

    def answered(self, origin: str) -> None:
        self._answers[origin] = None

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(self._answers)

    def keep(self, kept: Kept, then: Callable[[bool], None] | None) -> None:
        self.release()  # what comes now is the worker's own doing
        if then is None:
            self.kept = kept
        else:
            self._keep(Keeping(self.item, kept, then))

    def take_log(self) -> str:
        """What was logged since the last call."""
        if not self._log:
            return ""
        parts, self._log = self._log, []
        return "".join(parts)[-_LOG_LIMIT:]

    def release(self) -> None:
        """The item has ended: a death of the worker is no longer its fault."""
        if self._slot is not None:
            self._marks.give(self._slot)
            self._slot = None
