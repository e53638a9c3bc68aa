"""Live progress on standard error: one bar a batch on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from batchctl.console.bars import Bars
from batchctl.console.pace import Pace
from batchctl.console.settings import fancy, settings
from batchctl.console.text import percent, plural, remaining, safe, shorten
from batchctl.errors import BatchctlError

Batch = Mapping[str, Any]
_FAST = 0.25
_PLAIN = 5.0
_LINES = 5  # plain text: more batches than this are summed up in one line


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What is there at one moment.

    batches   in the contract's JSON
    more      how many are unfinished beside these
    running   by batch id: items that tell how far they are, key and percent
    """

    batches: Sequence[Batch]
    more: int = 0
    running: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)


class Source(Protocol):
    """Where progress comes from; called from the progress thread only."""

    def __call__(self) -> Glimpse: ...

    def close(self) -> None: ...


class LiveProgress:
    """Shows what `open_source()` answers until the block ends, then its last word. Under --quiet it does nothing."""

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._open = open_source
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LiveProgress:
        if not settings.quiet:
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        # A store that can't be read, a screen that is gone: the work itself will say so, or does not care.
        with suppress(BatchctlError, OSError, ValueError):
            source = self._open()
            try:
                screen = Bars() if fancy(sys.stderr) else Lines()
                with screen:
                    self._loop(source, screen)
            finally:
                source.close()

    def _loop(self, source: Source, screen: Bars | Lines) -> None:
        screen.show(source(), time.monotonic())
        while not self._stop.wait(_FAST if isinstance(screen, Bars) else _PLAIN):
            screen.show(source(), time.monotonic())
        screen.end(source(), time.monotonic())


class Lines:
    """Progress as whole lines of plain text."""

    def __init__(self) -> None:
        self._pace = Pace(window=30.0)
        self._said: dict[str, str] = {}
        self._ended: set[str] = set()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, seen: Glimpse, now: float) -> None:
        open_ones = [batch for batch in seen.batches if batch["completed_at"] is None]
        for batch in seen.batches:
            self._pace.note(batch, now)
            if batch["completed_at"] is not None and batch["id"] not in self._ended:
                self._ended.add(batch["id"])
                self._say(batch["id"], f"{label(batch)}: {ending(batch)}")
        if now == self._pace.first:  # nothing to tell yet
            return
        if len(open_ones) + seen.more > _LINES:
            self._sum_up(open_ones, seen.more)
            return
        for batch in open_ones:
            self._say(batch["id"], f"{label(batch)}: {self._standing(batch, seen)}")

    def end(self, seen: Glimpse, now: float) -> None:
        self.show(seen, now)

    def _standing(self, batch: Batch, seen: Glimpse) -> str:
        rate, left = self._pace.rate(batch), self._pace.left(batch)
        parts = [f"{batch['processed_items']:,}/{batch['total_items']:,} ({percent(batch['progress_percent'])})"]
        if batch["failed_items"]:
            parts.append(f"{batch['failed_items']:,} failed")
        if batch["paused"]:
            parts.append("paused")
        if rate:
            parts.append(f"{rate:.1f}/s")
        if left is not None:
            parts.append(f"{remaining(left)} left")
        parts += [f"{shorten(key, 30)} {done:.0f}%" for key, done in seen.running.get(batch["id"], ())]
        return ", ".join(parts)

    def _sum_up(self, batches: Sequence[Batch], more: int) -> None:
        done = sum(batch["processed_items"] for batch in batches)
        total = sum(batch["total_items"] for batch in batches)
        rest = f" and {plural(more, 'more batch', 'more batches')}" if more else ""
        self._say("", f"{len(batches)} batches: {done:,}/{total:,}{rest}")

    def _say(self, about: str, line: str) -> None:
        if self._said.get(about) != line:
            self._said[about] = line
            sys.stderr.write(safe(line) + "\n")
            sys.stderr.flush()


def label(batch: Batch) -> str:
    """The name that people gave it, and its id."""
    return f"{batch['name']} ({batch['id']})" if batch["name"] else str(batch["id"])


def ending(batch: Batch) -> str:
    """ "completed_with_errors: 495 completed, 5 failed"."""
    states = ("completed", "failed", "cancelled")
    parts = [f"{batch[f'{state}_items']:,} {state}" for state in states if batch[f"{state}_items"]]
    return f"{batch['status']}, {', '.join(parts)}" if len(parts) > 1 else ", ".join(parts) or batch["status"]
