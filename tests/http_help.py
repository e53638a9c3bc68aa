"""Runs items through the real `http` processor without a store: what a worker would lend it, made by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from batchctl.config.structs import HttpSpec, ProcessorConfig
from batchctl.inflight import InFlight
from batchctl.masking import Masker
from batchctl.model import BatchKind, BatchRef, FileRef, Item, Outcome
from batchctl.processors.base import Runtime
from batchctl.processors.http import HttpProcessor

DEADLINE = 30.0
BATCH = BatchRef("b0000abcd0000", "invoices", "acme", "mia", BatchKind.ORDERS, 1_760_000_000_000, 3)


def order(number: int = 1, file: FileRef | None = None, **payload: Any) -> Item:
    """A claimed item."""
    return Item(
        number=number,
        batch=BATCH,
        processor="send",
        key=f"k{number}",
        position=number,
        raw_payload=msgspec.json.encode(payload).decode(),
        file=file,
        idempotency_key=f"key-of-{number}",
        claim_no=1,
        attempt=1,
    )


@dataclass
class Run:
    """One item under way: what the worker's side of it saw. `wait` gives its outcome."""

    item: Item
    starts: int = 0
    percents: list[float] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def started(self, at_ms: int | None = None) -> None:
        del at_ms
        self.starts += 1

    def progress(self, percent: float) -> None:
        self.percents.append(percent)

    def log(self, text: str) -> None:
        """Not used by this processor."""

    def done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._ended.set()

    def wait(self) -> Outcome:
        assert self._ended.wait(DEADLINE), "no outcome came"
        assert len(self.outcomes) == 1
        return self.outcomes[0]


@dataclass
class Driver:
    """An open processor. `send` starts an item, `run` also waits for its outcome."""

    processor: HttpProcessor

    def send(self, item: Item) -> Run:
        run = Run(item)
        self.processor.start(item, run, run.done)
        return run

    def run(self, item: Item) -> Outcome:
        return self.send(item).wait()

    def order(self, **payload: Any) -> Outcome:
        return self.run(order(**payload))


@contextmanager
def http(
    folder: Path,
    *,
    timeout: float = DEADLINE,
    width: int = 8,
    secrets: Mapping[str, Any] | None = None,
    mask: tuple[str, ...] = (),
    **spec: Any,
) -> Iterator[Driver]:
    """A processor with that `http:` section, closed at the end."""
    config = ProcessorConfig("send", "http", HttpSpec(**spec), folder, timeout=timeout)
    inflight = InFlight(folder / "inflight", create=True)
    runtime = Runtime("w1", {}, inflight, folder, width)
    processor = HttpProcessor(config, runtime, secrets or {}, Masker(mask))
    try:
        yield Driver(processor)
    finally:
        processor.close()
        inflight.close()
