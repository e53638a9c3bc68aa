"""What a worker gives its processors, and a place where outcomes arrive, for tests of single processors."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchctl.config.structs import CommandSpec, ProcessorConfig
from batchctl.inflight import InFlight
from batchctl.masking import Masker
from batchctl.model import BatchKind, BatchRef, Failed, FileRef, Item, Kept, Outcome, StepTry
from batchctl.processors import make
from batchctl.processors.base import Processor, Runtime

PATIENCE = 30.0
BATCH = BatchRef("b000000000001", "nightly", "acme", "ada", BatchKind.ORDERS, 1_700_000_000_000, 10)


def item(number: int = 1, payload: dict[str, Any] | None = None, file: FileRef | None = None, **facts: Any) -> Item:
    """An order, or a file."""
    content = {} if payload is None else payload
    defaults = {"batch": BATCH, "processor": "p", "key": f"k{number}", "position": number, "claim_no": 1, "attempt": 1,
                "idempotency_key": f"idem-{number}"}  # fmt: skip
    return Item(number=number, raw_payload=json.dumps(content), file=file, **(defaults | facts))


def file_ref(path: Path | bytes) -> FileRef:
    """The file as it is now."""
    text = os.fsdecode(path)
    content = Path(text).read_bytes()
    return FileRef(text, Path(text).name, len(content), hashlib.sha256(content).hexdigest(), "text/plain")


@dataclass
class Line:
    """A running item's line to the worker, written down."""

    started_at: list[int | None] = field(default_factory=list)
    percents: list[float] = field(default_factory=list)
    text: str = ""
    answers: list[str] = field(default_factory=list)
    tries: list[StepTry] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    go_on: bool | None = True  # what a step is told after its result was kept; None: nothing yet, see `held`
    held: Callable[[bool], None] | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def started(self, at_ms: int | None = None) -> None:
        with self.changed:
            self.started_at.append(at_ms)
            self.changed.notify_all()

    def progress(self, percent: float) -> None:
        with self.changed:
            self.percents.append(percent)
            self.changed.notify_all()

    def log(self, text: str) -> None:
        with self.changed:
            self.text += text
            self.changed.notify_all()

    def at_step(self, step: StepTry) -> None:
        with self.changed:
            self.tries.append(step)
            self.changed.notify_all()

    def answered(self, origin: str) -> None:
        with self.changed:
            self.answers.append(origin)

    def keep(self, kept: Kept, then: Callable[[bool], None] | None) -> None:
        with self.changed:
            self.kept.append(kept)
            go_on = self.go_on
            self.changed.notify_all()
        if then is None:
            return
        if go_on is None:
            self.held = then
        else:
            then(go_on)

    def wait(self, until: Callable[[Line], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: until(self), PATIENCE), self


@dataclass
class Bench:
    """A processor at work. `do` runs items to their end; `start` and `end` take it apart."""

    processor: Processor
    runtime: Runtime
    lines: dict[int, Line] = field(default_factory=dict)
    ended: dict[int, Outcome] = field(default_factory=dict)
    _inbox: queue.SimpleQueue[tuple[int, Outcome]] = field(default_factory=queue.SimpleQueue)

    def start(self, one: Item) -> Line:
        line = self.lines[one.number] = Line()
        self.processor.start(one, line, lambda outcome: self._inbox.put((one.number, outcome)))
        return line

    def end(self, number: int) -> Outcome:
        """Waits for the item's outcome. Fails where an item ends twice."""
        while number not in self.ended:
            which, outcome = self._inbox.get(timeout=PATIENCE)
            assert which not in self.ended, f"item {which} ended twice: {self.ended[which]}, {outcome}"
            self.ended[which] = outcome
        return self.ended[number]

    def do(self, *items: Item) -> list[Outcome]:
        for one in items:
            self.start(one)
        return [self.end(one.number) for one in items]


@contextmanager
def bench(
    config: ProcessorConfig, folder: Path, *, width: int = 2, secrets: Mapping[str, Any] | None = None,
    masker: Masker | None = None, **environment: str,
) -> Iterator[Bench]:  # fmt: skip
    """A processor with a worker's runtime in `folder`; nothing of it is left afterwards."""
    spool = folder / "spool"
    spool.mkdir(mode=0o700, exist_ok=True)
    inflight = InFlight(folder / "inflight", create=True)
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "BATCHCTL_WORKER": "w1", "HOME": str(folder)} | environment
    runtime = Runtime("w1", env, inflight, spool, width)
    processor = make(config, runtime, secrets or {}, masker or Masker())
    try:
        yield Bench(processor, runtime)
    finally:
        processor.close()
        assert inflight.started() == []
        inflight.close()


def eventually(fact: Callable[[], Any]) -> Any:
    """Polls until the fact is true and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := fact()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return found


Work = Callable[..., AbstractContextManager[Bench]]


def command_work(folder: Path) -> Work:
    """Makes benches whose processor runs a command in `folder`."""

    def make(*argv: str, timeout: float = 60.0, spec: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        command = CommandSpec(argv, **{"cwd": folder, **(spec or {})})
        return bench(ProcessorConfig("p", "command", command, folder, timeout=timeout), folder, **kwargs)

    return make


def sh(script: str) -> tuple[str, str, str]:
    return "sh", "-c", script


def failed(outcome: object) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome
