"""A queue in a real database, driven through the Store: what tests of the reading side look at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from batchctl import journal
from batchctl.cli import run
from batchctl.model import (
    AttemptOutcome,
    BatchKind,
    Incoming,
    Item,
    ItemError,
    ItemState,
    NewBatch,
    Priority,
    WaitingFor,
)
from batchctl.store import Claimer, Scope, Store
from batchctl.transitions.recording import Settled, record
from batchctl.views import Views

Orders = Sequence[Mapping[str, Any]]


@dataclass
class Queue:
    """One store, one worker. Times are the engine's clock unless given, in ms UTC."""

    url: str | Path
    worker: str = "wtest"
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store.open(str(self.url), create=True)

    def close(self) -> None:
        self.store.close()

    def views(self, org: str | None = None) -> Views:
        return Views(self.store.engine, org)

    def add(
        self,
        items: Orders | int = 1,
        *,
        processor: str = "p",
        name: str | None = None,
        org: str | None = None,
        user: str | None = "ann",
        priority: Priority = Priority.NORMAL,
        not_before: int | None = None,
        split: int | None = None,
        key: str = "id",
    ) -> list[int]:
        """Enqueue orders (a number makes that many, keys `k1`…); the numbers of the batches made."""
        orders = [{"id": f"k{n}"} for n in range(1, items + 1)] if isinstance(items, int) else items
        new = NewBatch(
            kind=BatchKind.ORDERS,
            processor=processor,
            name=name,
            organization=org,
            user=user,
            priority=priority,
            not_before=not_before,
        )
        loading = self.store.load(new, split=split)
        loading.add(
            [
                Incoming(key=str(order[key]), position=n, payload=json.dumps(order), where=f"orders.csv:{n}")
                for n, order in enumerate(orders, 1)
            ]
        )
        return loading.finish("hash", again=True).batch_nos

    def claim(self, limit: int = 1, *processors: str) -> list[Item]:
        claimer = Claimer(self.store.engine, self.worker)
        with self.store.engine.write() as tx:
            scope = Scope(frozenset(processors or ("p",)))
            return claimer.claim(tx, scope, limit, self.store.engine.now())

    def settle(self, item: Item, state: ItemState, outcome: AttemptOutcome, **more: Any) -> None:
        now = self.store.engine.now()
        settled = Settled(
            item_id=item.number,
            claim_no=item.claim_no,
            batch_no=item.batch.no,
            organization=item.batch.organization or "",
            state=state,
            outcome=outcome,
            counted=more.pop("counted", True),
            started_at=now - 5,
            ended_at=now,
            **more,
        )
        with self.store.engine.write() as tx:
            assert record(tx, self.worker, [settled], now) == [settled]

    def complete(self, item: Item, result: Any = None, **more: Any) -> None:
        self.settle(item, ItemState.COMPLETED, AttemptOutcome.COMPLETED, result=json.dumps(result), **more)

    def fail(self, item: Item, message: str = "no such customer", kind: str = "NotFound", **more: Any) -> None:
        error = ItemError(kind, message, permanent=True)
        self.settle(item, ItemState.FAILED, AttemptOutcome.FAILED, error=error, **more)

    def retry_later(self, item: Item, message: str = "timed out", at: int | None = None) -> None:
        self.settle(
            item,
            ItemState.WAITING,
            AttemptOutcome.RETRY,
            error=ItemError("Timeout", message),
            waiting_for=WaitingFor.RETRY,
            next_attempt_at=at or self.store.engine.now() + 60_000,
        )


@dataclass
class Answer:
    """What one call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Program:
    """The program called in this process, on a queue of its own; `cli` in conftest.py starts real processes."""

    queue: Queue
    capture: pytest.CaptureFixture[str]

    def __call__(self, *args: object, code: int | None = 0) -> Answer:
        """Call `batchctl ARGS`; it must end with `code` (None: any)."""
        self.capture.readouterr()
        journal.configure()  # as in a new process
        got = run([str(arg) for arg in args])
        out, err = self.capture.readouterr()
        assert code is None or got == code, f"exit {got}\n{out}\n{err}"
        return Answer(got, out, err)


@contextmanager
def program_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], url: str | None = None
) -> Iterator[Program]:
    """A program whose home and working folder are `folder`, user ann, no config; the store is there, or at `url`."""
    store = url or str(folder / "queue.db")
    for name in list(os.environ):
        if name.startswith(("BATCHCTL_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in {"HOME": folder, "BATCHCTL_STORE": store, "BATCHCTL_USER": "ann"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(folder)
    queue = Queue(store)
    try:
        yield Program(queue, capture)
    finally:
        queue.close()
