"""What every processor is: something that starts a claimed item and later answers with one Outcome.

Processors never see the store. They get frozen Items and a Context; what they want remembered while an item
runs (start, progress, log lines) goes through the Context, what they found goes into the Outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from batchctl.inflight import InFlight
from batchctl.model import Item, ItemError, Kept, Outcome, StepTry

Done = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a worker lends its processors.

    environment   for child processes: the worker's, with BATCHCTL_WORKER=<worker_id>, by which recovery finds orphans
    inflight      where a child interpreter marks what it has started; others use `Context.started`
    folder        the worker's private folder beside the store (mode 0700), for spools; removed when it ends
    width         how many items may run at once in this worker
    closed        why not to ask this origin for the item of that number; None where it may be asked
    """

    worker_id: str
    environment: Mapping[str, str]
    inflight: InFlight
    folder: Path
    width: int
    closed: Callable[[str, int], ItemError | None] = lambda origin, number: None  # noqa: ARG005


class Context(Protocol):
    """A running item's line to its worker. All methods may be called from any thread and return at once."""

    def started(self, at_ms: int | None = None) -> None:
        """The item is about to be touched: from here on, a death of the worker makes it a suspect. Call it before
        any effect. (Python children mark the in-flight file themselves and report the time, `at_ms`, afterwards.)"""

    def progress(self, percent: float) -> None:
        """0 to 100; shown by `show` and `watch` while the item runs."""

    def log(self, text: str) -> None:
        """Text for `logs ITEM`, appended as it comes (so that `logs -f` sees it); kept up to a limit, the tail wins."""

    def at_step(self, step: StepTry) -> None:
        """From here on the item is in this step: what becomes of it is judged by that step's rules."""

    def answered(self, origin: str) -> None:
        """A receiver has answered in a step that is done. (The last one is told by the outcome.)"""

    def keep(self, kept: Kept, then: Callable[[bool], None] | None) -> None:
        """Have a step's result stored, then be called back, from any thread. True: go on; False: the item is not ours
        any more, or the worker stops. Without `then` it is stored together with the item's outcome, which follows."""


class Processor(Protocol):
    """Runs items of one named processor. One instance a worker and processor, made on first use."""

    def start(self, item: Item, context: Context, done: Done) -> None:
        """Take the item and return at once; call `done` exactly once, from any thread, when it has ended.

        A processor may be given more items than it can run at once; it keeps them in order and starts them as it
        has room. Whatever is wrong with an item is an Outcome, never an exception from here.
        """

    def cancel(self, number: int, *, hand_back: bool) -> None:
        """End the item of that number as soon as its kind allows (command: TERM to its group, KILL after 5 s; Python:
        its child is ended; HTTP: the task). `done` is still called: with HandedBack where `hand_back`, else Cancelled,
        unless it had ended by then. An item that was not started yet ends at once. Unknown numbers are ignored."""

    def withdraw(self) -> list[int]:
        """Give up every item that was not started yet and return their numbers; `done` is not called for these."""

    def resize(self, width: int) -> None:
        """From now on at most `width` items at once."""

    def close(self) -> None:
        """No more items come. End what the processor started (children, connections) and wait for it."""
