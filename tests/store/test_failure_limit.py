"""`max_failures`: so many failures stop a batch; what runs is recorded, the rest is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchctl.model import ItemState
from batchctl.recovery import finish_interrupted
from batchctl.store import Store
from batchctl.transitions import bulk
from batchctl.transitions.limits import failure_limit, told
from store.kit import Clock, Worker, failed, load, scope, settled

Peek = Callable[..., list[tuple[Any, ...]]]
BATCH = "SELECT status, limit_reached, bulk, completed_items, failed_items, cancelled_items, run_failures FROM batches"


def test_one_failure_is_told_as_one() -> None:
    assert told(1, 1) == "stopped after 1 failure: max_failures allows fewer than 1"


@pytest.mark.parametrize(
    ("allowed", "total", "limit"),
    [(None, 10, None), (3, 10, 3), (0.1, 50, 5), (0.1, 51, 6), (0.07, 100, 7), (0.0, 10, 1), (1.0, 10, 10)],
)
def test_a_share_is_of_all_items_rounded_up(allowed: int | float | None, total: int, limit: int | None) -> None:
    assert failure_limit(allowed, total) == limit


def test_the_rest_is_cancelled_and_what_runs_is_recorded(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 10, max_failures=2)
    first, second, third, fourth = worker.claim(4)
    worker.fail(first)
    assert peek(BATCH) == [("processing", 0, None, 0, 1, 0, 1)]
    worker.fail(second)
    assert peek(BATCH) == [("processing", 1, "cancel", 0, 2, 0, 2)]
    assert worker.claim(4) == []
    assert not bulk.carry_on(store.engine, 1.0)
    assert peek(BATCH) == [("processing", 1, None, 0, 2, 6, 2)]
    worker.complete(third)
    worker.give_back(fourth)  # it would go back to the queue: it is cancelled, too
    assert peek(BATCH) == [("failed", 1, None, 1, 2, 7, 2)]
    assert peek("SELECT error FROM batches") == [("stopped after 2 failures: max_failures allows fewer than 2",)]
    assert peek("SELECT count FROM events WHERE event = 'failed'") == [(10,)]
    assert peek("SELECT detail FROM events WHERE event = 'limit_reached'") == [('{"failures": 2, "limit": 2}',)]


def test_one_commit_with_all_that_is_left_ends_it_as_failed(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 3, max_failures=0.5)
    items = worker.claim(3)
    worker.record(*(failed(item, store.engine.now()) for item in items))
    assert peek(BATCH) == [("failed", 0, None, 0, 3, 0, 3)]


def test_what_would_be_tried_again_is_cancelled(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    load(store, 3, max_failures=1)
    first, second, third = worker.claim(3)
    worker.put_off(first, until=clock.ms + 1000)
    worker.fail(second)
    worker.put_off(third, until=clock.ms + 1000)
    finish_interrupted(store.engine)
    assert peek(BATCH) == [("failed", 1, None, 0, 1, 2, 1)]


def test_many_items_take_several_looks_and_nobody_else_waits(
    store: Store, worker: Worker, peek: Peek, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_CHUNK", 10)
    load(store, 100, max_failures=1)
    worker.fail(*worker.claim(1))
    assert bulk.carry_on(store.engine, 0.0)
    assert peek("SELECT bulk, loader, cancelled_items FROM batches") == [("cancel", "limit", 10)]
    assert finish_interrupted(store.engine, patience=0.0) == (0, 0)
    assert peek("SELECT cancelled_items FROM batches") == [(20,)]
    assert finish_interrupted(store.engine)[1] == 1
    assert peek(BATCH) == [("failed", 1, None, 0, 1, 99, 1)]


def test_no_more_is_claimed_ahead_than_may_fail(store: Store, worker: Worker) -> None:
    load(store, 100, max_failures=10)
    first = worker.claim(50, free=4)
    assert len(first) == 10
    worker.complete(*first[:3])
    worker.fail(*first[3:7])
    assert len(worker.claim(50, free=2)) == 3  # six may fail, three are held
    other = Worker(store, "w2", scope("p"))
    assert len(other.claim(50, free=4)) == 4  # one slot, one item, whatever others have
    assert worker.claim(50, free=0) == []


def test_a_paused_batch_near_its_limit_keeps_nobody_back(store: Store, worker: Worker) -> None:
    (near,) = load(store, 10, max_failures=2)
    worker.fail(*worker.claim(1))
    load(store, 20)
    assert len(worker.claim(10, free=1)) == 1
    store.pause([near], None, None)
    assert len(worker.claim(10, free=1)) == 10


def test_retry_counts_afresh(store: Store, worker: Worker, peek: Peek) -> None:
    (no,) = load(store, 6, max_failures=2)
    worker.fail(*worker.claim(2))
    bulk.carry_on(store.engine, 1.0)
    assert peek(BATCH) == [("failed", 1, None, 0, 2, 4, 2)]
    assert store.retry(no, None, states={"cancelled"}) == 4
    assert peek(BATCH) == [("processing", 0, None, 0, 2, 0, 0)]
    worker.fail(*worker.claim(1))
    worker.complete(*worker.claim(2))
    assert peek(BATCH) == [("processing", 0, None, 2, 3, 0, 1)]
    worker.fail(*worker.claim(1))
    assert peek(BATCH) == [("failed", 0, None, 2, 4, 0, 2)]


def test_failures_while_a_retry_goes_on_stop_the_batch_when_that_is_done(
    store: Store, worker: Worker, peek: Peek, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no,) = load(store, 4, max_failures=1)
    worker.fail(*worker.claim(1))
    bulk.carry_on(store.engine, 1.0)
    whole = bulk._retry_some

    def interrupted(act: Any, plan: Any) -> Any:
        found = whole(act, plan)
        if found is not None:
            worker.fail(*worker.claim(1))
        return found

    monkeypatch.setattr(bulk, "_retry_some", interrupted)
    store.retry(no, None, states={"failed", "cancelled"})
    assert peek(BATCH) == [("processing", 1, "cancel", 0, 1, 0, 1)]
    bulk.carry_on(store.engine, 1.0)
    assert peek(BATCH) == [("failed", 1, None, 0, 1, 3, 1)]


def test_other_batches_go_on(store: Store, peek: Peek) -> None:
    load(store, 2, max_failures=1)
    load(store, 2)
    worker = Worker(store, "w2", scope("p"))
    worker.fail(*worker.claim(1))
    bulk.carry_on(store.engine, 1.0)
    worker.record(*(settled(item, 1, ItemState.COMPLETED, None, result="1") for item in worker.claim(5)))
    assert peek("SELECT status FROM batches ORDER BY no") == [("failed",), ("completed",)]
