"""What the store's tests share: a clock in their hands, orders, workers that only claim and answer."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from batchctl.store import Claimer, Loading, Scope, Store
from batchctl.transitions.recording import Settled, record

START = 1_800_000_000_000  # ms UTC: the clock of a test begins here


@dataclass
class Clock:
    """Replaces `engine.now`."""

    ms: int = START

    def __call__(self) -> int:
        return self.ms

    def advance(self, ms: int) -> None:
        self.ms += ms


@dataclass
class Worker:
    """Claims from a store and answers what a test says."""

    store: Store
    id: str
    scope: Scope
    claimer: Claimer = field(init=False)

    def __post_init__(self) -> None:
        self.claimer = Claimer(self.store.engine, self.id)

    def claim(self, limit: int = 1, scope: Scope | None = None, *, free: int | None = None) -> list[Item]:
        """`free`: so many slots of it are free, the rest it claims ahead; None: all."""
        with self.store.engine.write(shared=True) as tx:
            return self.claimer.claim(tx, scope or self.scope, limit, self.store.engine.now(), free)

    def claim_suspect(self, scope: Scope | None = None) -> Item | None:
        with self.store.engine.write(shared=True) as tx:
            return self.claimer.claim_suspect(tx, scope or self.scope, self.store.engine.now())

    def record(self, *settled: Settled) -> list[Settled]:
        with self.store.engine.write(shared=True) as tx:
            return record(tx, self.id, settled, self.store.engine.now())

    def complete(self, *items: Item, result: Any = None) -> list[Settled]:
        return self.record(*(completed(item, self.store.engine.now(), result) for item in items))

    def fail(self, *items: Item, message: str = "no such customer") -> list[Settled]:
        return self.record(*(failed(item, self.store.engine.now(), message) for item in items))

    def put_off(self, *items: Item, until: int) -> list[Settled]:
        return self.record(*(put_off(item, self.store.engine.now(), until) for item in items))

    def give_back(self, *items: Item) -> list[Settled]:
        return self.record(*(given_back(item, self.store.engine.now()) for item in items))


def settled(item: Item, now: int, state: ItemState, outcome: AttemptOutcome | None, **more: Any) -> Settled:
    return Settled(
        item_id=item.number,
        claim_no=item.claim_no,
        batch_no=item.batch.no,
        organization=item.batch.organization or "",
        state=state,
        outcome=outcome,
        counted=more.pop("counted", True),
        started_at=more.pop("started_at", now),
        ended_at=now,
        lane_no=item.lane_no,
        **more,
    )


def completed(item: Item, now: int, result: Any = None) -> Settled:
    return settled(item, now, ItemState.COMPLETED, AttemptOutcome.COMPLETED, result=json.dumps(result))


def failed(item: Item, now: int, message: str = "no such customer") -> Settled:
    error = ItemError("NotFound", message, permanent=True)
    return settled(item, now, ItemState.FAILED, AttemptOutcome.FAILED, error=error)


def put_off(item: Item, now: int, until: int) -> Settled:
    return settled(
        item,
        now,
        ItemState.WAITING,
        AttemptOutcome.RETRY,
        error=ItemError("Timeout", "timed out"),
        waiting_for=WaitingFor.RETRY,
        next_attempt_at=until,
    )


def given_back(item: Item, now: int) -> Settled:
    return settled(item, now, ItemState.PENDING, None, counted=False, started_at=None)


def scope(*processors: str, **more: Any) -> Scope:
    return Scope(processors=frozenset(processors or ("p",)), **more)


def orders(
    keys: int | Iterable[str], payload: Mapping[str, Any] | None = None, *, explicit: bool = True
) -> list[Incoming]:
    """One order a key (a number makes `k1`…), its payload holding the key."""
    names = [f"k{n}" for n in range(1, keys + 1)] if isinstance(keys, int) else list(keys)
    return [
        Incoming(
            key=key,
            position=n,
            payload=json.dumps({"id": key} | dict(payload or {})),
            where=f"orders.csv:{n}",
            explicit_key=explicit,
        )
        for n, key in enumerate(names, 1)
    ]


def new_batch(processor: str = "p", **more: Any) -> NewBatch:
    return NewBatch(kind=more.pop("kind", BatchKind.ORDERS), processor=processor, **more)


def load(
    store: Store,
    items: int | Sequence[str] | Sequence[Incoming] = 1,
    *,
    content: str | None = None,
    again: bool = True,
    options: Mapping[str, Any] | None = None,
    **new: Any,
) -> list[int]:
    """Enqueue; the numbers of the batches made. `options` go to `Store.load`, the rest to `NewBatch`."""
    rows = items if not isinstance(items, int) and items and isinstance(items[0], Incoming) else orders(items)  # type: ignore[arg-type]
    loading = begin(store, **dict(options or {}), **new)
    assert loading.add(rows) == []  # type: ignore[arg-type]
    return loading.finish(content or "content", again=again).batch_nos


def begin(
    store: Store, *, split: int | None = None, on_duplicate: str = "refuse", skip_known: bool = False, **new: Any
) -> Loading:
    return store.load(new_batch(**new), split=split, on_duplicate=on_duplicate, skip_known=skip_known)


def numbers(items: Collection[Item]) -> list[int]:
    return [item.number for item in items]


def keys(items: Collection[Item]) -> list[str]:
    return [item.key for item in items]


HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
