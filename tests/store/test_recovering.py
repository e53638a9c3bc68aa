"""What a dead worker held: suspects alone, everything else as if it had not been claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchctl.model import Item
from batchctl.store import Store
from batchctl.transitions import recovering
from batchctl.transitions.recovering import hand_back, release_worker
from store import kit
from store.kit import Clock, Worker, keys, load

Peek = Callable[..., list[tuple[Any, ...]]]


def marks(*items: Item) -> frozenset[tuple[int, int]]:
    return frozenset((item.number, item.claim_no) for item in items)


def dies(worker: Worker, *begun: Item, max_crashes: int = 3) -> int:
    return release_worker(worker.store.engine, worker.id, marks(*begun), max_crashes)


def test_only_what_was_begun_becomes_a_suspect(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 5)
    items = worker.claim(4)
    assert dies(worker, items[1]) == 4
    assert peek("SELECT id FROM items WHERE suspect = 1") == [(2,)]
    assert peek("SELECT item_id, outcome, counted FROM attempts") == [(2, "crashed", 0)]
    assert keys(worker.claim(9)) == ["k1", "k3", "k4", "k5"]


def test_a_suspect_is_claimed_alone_with_the_same_key_and_attempt(store: Store, worker: Worker) -> None:
    load(store, 1)
    (first,) = worker.claim()
    dies(worker, first)
    assert worker.claim(9) == []
    again = worker.claim_suspect()
    assert again is not None
    assert (again.suspect, again.attempt, again.idempotency_key) == (True, 1, first.idempotency_key)
    assert worker.claim_suspect() is None


def test_the_death_that_made_it_a_suspect_does_not_count(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    dies(worker, *worker.claim(), max_crashes=2)
    for deaths in (1, 2):
        item = worker.claim_suspect()
        assert item is not None
        dies(worker, item, max_crashes=2)
        assert peek("SELECT crashes FROM items") == [(deaths,)]
    assert peek("SELECT state FROM items") == [("failed",)]
    assert peek("SELECT error_type, permanent FROM item_results") == [("WorkerDied", 1)]
    assert peek("SELECT status FROM batches") == [("failed",)]


def test_a_suspect_stays_one_through_a_retry(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, 1)
    dies(worker, *worker.claim())
    item = worker.claim_suspect()
    assert item is not None
    worker.put_off(item, until=clock.ms + 1_000)
    clock.advance(1_000)
    assert worker.claim(9) == []
    again = worker.claim_suspect()
    assert again is not None
    assert again.attempt == 2


def test_a_reboot_is_nobodys_fault(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 3)
    worker.claim(3)
    assert release_worker(store.engine, worker.id, None, 3) == 3
    assert peek("SELECT sum(suspect), sum(crashes), sum(attempts_used) FROM items") == [(0, 0, 0)]
    assert peek("SELECT count(*) FROM attempts") == [(0,)]
    assert len(worker.claim(9)) == 3


def test_a_mark_of_an_older_claim_blames_nobody(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    (old,) = worker.claim()
    worker.give_back(old)
    worker.claim()
    dies(worker, old)
    assert peek("SELECT state, suspect FROM items") == [("pending", 0)]


def test_what_was_to_be_cancelled_ends_so(store: Store, worker: Worker, peek: Peek) -> None:
    no = load(store, 2)[0]
    one, _ = worker.claim(2)
    store.cancel_batch(no, "ann")
    dies(worker, one)
    assert peek("SELECT state FROM items") == [("cancelled",), ("cancelled",)]
    assert peek("SELECT status FROM batches") == [("cancelled",)]


def test_more_than_one_chunk(store: Store, worker: Worker, peek: Peek, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovering, "_CHUNK", 3)
    load(store, 7)
    worker.claim(7)
    assert dies(worker) == 7
    assert peek("SELECT count(*) FROM events WHERE event = 'recovered'") == [(1,)]
    assert len(worker.claim(9)) == 7


def test_another_workers_items_are_left_alone(store: Store, worker: Worker) -> None:
    load(store, 2)
    other = Worker(store, "w2", worker.scope)
    (mine,), (theirs,) = worker.claim(), other.claim()
    dies(worker, mine)
    assert other.complete(theirs) != []
    assert worker.complete(mine) == []


def test_a_second_recovery_finds_nothing(store: Store, worker: Worker) -> None:
    load(store, 2)
    items = worker.claim(2)
    assert dies(worker, *items) == 2
    assert dies(worker, *items) == 0


def test_a_living_worker_gives_back_what_it_does_not_know(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 3)
    one, two, three = worker.claim(3)
    worker.give_back(two)
    hand_back(store.engine, worker.id, [(one.number, one.claim_no), (two.number, two.claim_no)])
    assert peek("SELECT id FROM items WHERE state = 'processing'") == [(three.number,)]
    assert peek("SELECT count(*) FROM attempts") == [(0,)]


@pytest.mark.parametrize("gate", ["batch", "processor", "limit", "scope"])
def test_a_suspect_waits_behind_the_same_gates(store: Store, worker: Worker, gate: str) -> None:
    no = load(store, 2)[0]
    dies(worker, *worker.claim())
    scope = worker.scope
    if gate == "batch":
        store.pause([no], None, "ann")
    elif gate == "processor":
        store.pause_processor("p", None, "ann")
    elif gate == "limit":
        scope = kit.scope("p", limits={"p": 1})
        Worker(store, "w2", scope).claim()
    else:
        scope = kit.scope("q")
    assert worker.claim_suspect(scope) is None


def test_suspects_go_in_the_order_of_their_batches(store: Store, worker: Worker) -> None:
    load(store, ["a"])
    load(store, ["b"], priority=kit.HIGH)
    dies(worker, *worker.claim(2))
    order = [worker.claim_suspect(), worker.claim_suspect()]
    assert [item.key for item in order if item] == ["b", "a"]
