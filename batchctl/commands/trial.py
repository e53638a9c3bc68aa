"""One item through its processor, here and now: no store, no worker, nothing kept."""

from __future__ import annotations

import os
import queue
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from batchctl import hosts
from batchctl.config.structs import Config, ProcessorConfig
from batchctl.inflight import InFlight
from batchctl.model import Item, Kept, Outcome, StepTry
from batchctl.processors import make
from batchctl.processors.base import Processor, Runtime


class Terminated(BaseException):
    """SIGTERM came; the argument is the exit code."""


@dataclass(slots=True)
class Heard:
    """A Context that remembers what the item wrote."""

    text: list[str] = field(default_factory=list)
    percent: float | None = None
    kept: list[Kept] = field(default_factory=list)

    def started(self, at_ms: int | None = None) -> None:
        """Nothing has to be remembered beyond this process."""

    def progress(self, percent: float) -> None:
        self.percent = percent

    def log(self, text: str) -> None:
        self.text.append(text)

    def at_step(self, step: StepTry) -> None:
        """Nothing is judged here."""

    def answered(self, origin: str) -> None:
        """Nobody is watched here."""

    def keep(self, kept: Kept, then: Callable[[bool], None] | None) -> None:
        self.kept.append(kept)
        if then is not None:
            then(True)


@dataclass(frozen=True, slots=True)
class Tried:
    """How it ended; `log` is what the item wrote while it ran, then what the processor tells of it; `kept` is what its
    steps came to."""

    outcome: Outcome
    log: str
    duration_ms: int
    kept: tuple[Kept, ...] = ()


def run_once(config: Config, processor: ProcessorConfig, item: Item) -> Tried:
    """Do the item. Ctrl-C (KeyboardInterrupt) and SIGTERM (Terminated) end it first. Raises ConfigError where the
    processor can't be made."""
    heard, outcomes = Heard(), queue.SimpleQueue[Outcome]()
    with _runtime() as runtime:
        worker = make(processor, runtime, config.secrets, config.masker)
        try:
            begun = time.monotonic()
            worker.start(item, heard, outcomes.put)
            outcome = _ended(worker, item, outcomes)
            lasted = time.monotonic() - begun
        finally:
            worker.close()
    log = "".join(heard.text) or outcome.log
    return Tried(outcome, config.masker(log), round(lasted * 1000), tuple(heard.kept))


def _ended(worker: Processor, item: Item, outcomes: queue.SimpleQueue[Outcome]) -> Outcome:
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        return outcomes.get()
    except (KeyboardInterrupt, Terminated):
        worker.cancel(item.number, hand_back=False)
        outcomes.get()
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminated(number: int, _frame: object) -> NoReturn:
    raise Terminated(128 + number)


@contextmanager
def _runtime() -> Iterator[Runtime]:
    """A worker's surroundings in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="batchctl-try-") as name:
        folder = Path(name)
        inflight = InFlight(folder / "inflight", create=True)
        worker_id = "try" + secrets.token_hex(8)
        try:
            yield Runtime(worker_id, os.environ | {hosts.MARK: worker_id}, inflight, folder, 1)
        finally:
            inflight.close()
