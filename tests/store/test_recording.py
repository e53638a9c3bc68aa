"""record: guarded by the claim, counted once, the end of a batch in the same commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchctl.model import AttemptOutcome, BatchStatus, ItemError, ItemState
from batchctl.store import Store
from batchctl.transitions.recording import final_status, store_news
from store import kit
from store.kit import Clock, Worker, load

Peek = Callable[..., list[tuple[Any, ...]]]


def batch(peek: Peek, no: int) -> tuple[Any, ...]:
    columns = "status, completed_items, failed_items, cancelled_items, completed_at, run_no"
    return peek(f"SELECT {columns} FROM batches WHERE no = ?", no)[0]  # noqa: S608 - names from here


def item(peek: Peek, number: int = 1) -> tuple[Any, ...]:
    return peek("SELECT state, attempts_used, worker_id, claim_no FROM items WHERE id = ?", number)[0]


# -- each way out


def test_a_completed_item_keeps_its_result_and_its_attempt(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    worker.complete(*worker.claim(), result={"invoice": 7})
    assert item(peek) == ("completed", 1, None, 1)
    assert [json.loads(row[0]) for row in peek("SELECT result FROM item_results")] == [{"invoice": 7}]
    assert peek("SELECT claim_no, outcome, counted, worker_id FROM attempts") == [(1, "completed", 1, "w1")]


def test_a_failed_item_keeps_its_error(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    worker.fail(*worker.claim(), message="no such customer")
    assert item(peek) == ("failed", 1, None, 1)
    assert peek("SELECT error_type, error_message, permanent FROM item_results") == [
        ("NotFound", "no such customer", 1)
    ]


def test_every_try_is_kept(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    load(store, 1)
    worker.put_off(*worker.claim(), until=clock.ms)
    worker.put_off(*worker.claim(), until=clock.ms)
    worker.give_back(*worker.claim())
    worker.complete(*worker.claim())
    assert peek("SELECT claim_no, outcome FROM attempts ORDER BY claim_no") == [
        (1, "retry"),
        (2, "retry"),
        (4, "completed"),
    ]
    assert item(peek) == ("completed", 3, None, 4)


def test_an_attempt_that_does_not_count_is_kept_and_free(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    (one,) = worker.claim()
    settled = kit.settled(one, kit.START, ItemState.PENDING, AttemptOutcome.HANDED_BACK, counted=False)
    worker.record(settled)
    assert item(peek) == ("pending", 0, None, 1)
    assert peek("SELECT outcome, counted FROM attempts") == [("handed_back", 0)]
    assert worker.claim()[0].attempt == 1


def test_progress_and_log_of_a_running_item(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    (one,) = worker.claim()
    with store.engine.write() as tx:
        store_news(tx, "w1", [(one, 45.0, "first\n"), (one, None, "second\n")])
    assert peek("SELECT progress FROM items") == [(45.0,)]
    worker.complete(one)
    assert peek("SELECT progress FROM items") == [(None,)]
    assert peek("SELECT text FROM attempt_logs") == [("first\nsecond\n",)]


def test_a_log_keeps_its_tail(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    (one,) = worker.claim()
    with store.engine.write() as tx:
        store_news(tx, "w1", [(one, None, "x" * 200_000), (one, None, "y" * 200_000)])
    ((text,),) = peek("SELECT text FROM attempt_logs")
    assert len(text) == 262_144
    assert text.endswith("y" * 200_000)


# -- the fence


@pytest.mark.parametrize("late", ["complete", "fail", "give_back"])
@pytest.mark.parametrize("next_holder", ["w1", "w2"])
def test_a_late_answer_from_a_lost_claim_changes_nothing(
    store: Store, worker: Worker, peek: Peek, late: str, next_holder: str
) -> None:
    load(store, 1)
    (lost,) = worker.claim()
    worker.give_back(lost)
    holder = Worker(store, next_holder, worker.scope)
    (one,) = holder.claim()
    assert getattr(worker, late)(lost) == []
    assert item(peek) == ("processing", 0, next_holder, 2)
    assert holder.complete(one) != []
    assert getattr(worker, late)(lost) == []
    assert item(peek) == ("completed", 1, None, 2)
    assert batch(peek, 1)[:4] == ("completed", 1, 0, 0)


def test_an_answer_that_is_stored_already_is_not_counted_again(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 2)
    one, two = worker.claim(2)
    assert len(worker.complete(one)) == 1
    assert [settled.item_id for settled in worker.complete(one, two)] == [two.number]
    assert batch(peek, 1)[:4] == ("completed", 2, 0, 0)


def test_the_same_answer_twice_in_one_commit_counts_once(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 2)
    one, _ = worker.claim(2)
    assert len(worker.complete(one, one)) == 1
    assert batch(peek, 1)[:4] == ("processing", 1, 0, 0)


def test_ours_among_theirs_is_recorded(store: Store, worker: Worker) -> None:
    load(store, 3)
    items = worker.claim(3)
    worker.give_back(items[1])
    Worker(store, "w2", worker.scope).claim()
    assert [one.item_id for one in worker.complete(*items)] == [1, 3]


# -- the end of a batch


@pytest.mark.parametrize(
    ("completed", "failed", "cancelled", "told", "limit", "status"),
    [
        (3, 0, 0, False, False, "completed"),
        (0, 3, 0, False, False, "failed"),
        (2, 1, 0, False, False, "completed_with_errors"),
        (2, 0, 1, False, False, "cancelled"),
        (0, 0, 3, False, False, "cancelled"),
        (1, 1, 1, False, False, "completed_with_errors"),
        (0, 1, 2, False, False, "failed"),
        (1, 1, 1, True, False, "cancelled"),
        (3, 0, 0, True, False, "cancelled"),
        (2, 1, 0, True, True, "failed"),
    ],
)
def test_the_first_rule_that_fits_names_the_end(
    completed: int, failed: int, cancelled: int, told: bool, limit: bool, status: str
) -> None:
    end = final_status(completed, failed, cancelled, was_cancelled=told, limit_reached=limit)
    assert end == BatchStatus(status)


def test_a_batch_is_pending_then_processing_then_ends_once(
    store: Store, worker: Worker, peek: Peek, clock: Clock
) -> None:
    load(store, 2)
    assert batch(peek, 1)[0] == "pending"
    one, two = worker.claim(2)
    assert batch(peek, 1)[0] == "processing"
    worker.complete(one)
    assert batch(peek, 1)[0] == "processing"
    clock.advance(1_000)
    worker.fail(two)
    assert batch(peek, 1) == ("completed_with_errors", 1, 1, 0, clock.ms, 1)
    assert peek("SELECT count(*) FROM events WHERE event = 'completed_with_errors'") == [(1,)]
    assert peek("SELECT count(*) FROM ready_groups") == [(0,)]


def test_one_commit_may_end_several_batches(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 3, options={"split": 1})
    worker.complete(*worker.claim(3))
    assert {batch(peek, no)[0] for no in (1, 2, 3)} == {"completed"}


# -- cancelled while it ran


def test_what_was_told_to_cancel_does_not_go_back(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    load(store, 4)
    items = worker.claim(4)
    assert store.cancel_items([one.number for one in items], "ann") == 0
    worker.put_off(items[0], until=clock.ms)
    worker.give_back(items[1])
    worker.complete(items[2])
    worker.fail(items[3])
    assert [item(peek, number)[0] for number in (1, 2, 3, 4)] == ["cancelled", "cancelled", "completed", "failed"]
    assert peek("SELECT sum(cancel_requested) FROM items") == [(0,)]


def test_errors_of_attempts_are_kept_when_the_item_is_cancelled(store: Store, worker: Worker, peek: Peek) -> None:
    no = load(store, 1)[0]
    (one,) = worker.claim()
    store.cancel_batch(no, "ann")
    error = ItemError("Timeout", "timed out")
    worker.record(kit.settled(one, kit.START, ItemState.CANCELLED, AttemptOutcome.CANCELLED, error=error))
    assert peek("SELECT outcome, error_type FROM attempts") == [("cancelled", "Timeout")]
    assert batch(peek, no)[0] == "cancelled"
