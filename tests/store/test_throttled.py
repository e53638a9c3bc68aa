"""Being told to slow down costs no attempt, and the store tells how much a receiver bears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from batchctl.adaptive import START, Seen
from batchctl.model import AttemptOutcome, Item, ItemError, ItemState, WaitingFor
from batchctl.store import Store
from batchctl.transitions.adapting import adapt
from batchctl.transitions.outages import Kind, Sign, weigh
from batchctl.transitions.recording import Settled, record
from store.kit import Clock, Worker, load, put_off, scope, settled

Peek = Callable[..., list[tuple[Any, ...]]]
ORIGIN = "https://api.example.com:443"
STATES = "SELECT state, waiting_for, attempts_used FROM items ORDER BY id"


def throttle(worker: Worker, item: Item, clock: Clock, max_outage: int = 60_000) -> None:
    now = clock.ms
    error = ItemError("HttpStatus", "HTTP 429")
    later = {"waiting_for": WaitingFor.RATE, "next_attempt_at": now + 1000}
    free = settled(item, now, ItemState.WAITING, AttemptOutcome.THROTTLED, error=error, counted=False, **later)
    sign = Sign(0, Kind.THROTTLED, "p", ORIGIN, max_outage=max_outage, otherwise=put_off(item, now, now + 1000))
    store(worker, [free], [sign], now)


def store(worker: Worker, rows: list[Settled], signs: list[Sign], now: int) -> None:
    with worker.store.engine.write(shared=True) as tx:
        weighed = weigh(tx, rows, signs, now)
        record(tx, worker.id, weighed.settled, now, weighed)


def test_it_costs_no_attempt_for_as_long_as_an_outage_may_last(store: Store, clock: Clock, peek: Peek) -> None:
    load(store, 1)
    worker = Worker(store, "w1", scope("p", paced=frozenset({"p"})))
    for _ in range(2):
        (item,) = worker.claim(1)
        throttle(worker, item, clock)
        assert peek(STATES) == [("waiting", "rate", 0)]
        assert worker.claim(1) == []
        clock.advance(30_000)
    (item,) = worker.claim(1)
    throttle(worker, item, clock)
    assert peek(STATES) == [("waiting", "retry", 1)]
    assert peek("SELECT outcome, counted FROM attempts ORDER BY claim_no")[-2:] == [("throttled", 0), ("retry", 1)]


def test_the_limit_is_the_stores(store: Store, peek: Peek) -> None:
    load(store, 20)
    one = Worker(store, "w1", scope("p", adaptive=frozenset({"p"})))
    two = Worker(store, "w2", replace(one.scope))
    held = one.claim(3)
    assert len(two.claim(10)) == START - len(held)
    with store.engine.write(shared=True) as tx:
        adapt(tx, {"p": Seen(congested=True)}, 1_000_000)
    assert peek("SELECT adaptive_limit FROM processors WHERE name = 'p'") == [(START // 2,)]
    one.complete(*held)
    assert len(one.claim(10)) == 1  # one still runs elsewhere
