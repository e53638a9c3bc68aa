"""cancel and retry, whole, in part, interrupted, and against each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from databases import Database

from batchctl.errors import UsageError
from batchctl.store import Store
from batchctl.transitions import bulk
from store import kit
from store.kit import Clock, Worker, keys, load

Peek = Callable[..., list[tuple[Any, ...]]]


class PowerCut(Exception):
    """The process is gone."""


@pytest.fixture(autouse=True)
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_CHUNK", 2)


@contextmanager
def power_cut(store: Store, after: int) -> Iterator[None]:
    """The process dies before its write number `after` + 1."""

    def die() -> None:
        raise PowerCut

    with pytest.raises(PowerCut), between_chunks(store, die, after=after):
        yield


@contextmanager
def between_chunks(store: Store, act: Callable[[], object], *, after: int) -> Iterator[None]:
    """Somebody else acts after our write number `after`."""
    with pytest.MonkeyPatch.context() as patch:
        whole, count = store.engine.write, 0

        @contextmanager
        def write() -> Iterator[Any]:
            nonlocal count
            count += 1
            if count == after + 1:
                act()
            with whole() as tx:
                yield tx

        patch.setattr(store.engine, "write", write)
        yield


def states(peek: Peek) -> str:
    """The first letters of all items' states."""
    return "".join(state[0] for (state,) in peek("SELECT state FROM items ORDER BY id"))


def status(peek: Peek, no: int = 1) -> str:
    return str(peek("SELECT status FROM batches WHERE no = ?", no)[0][0])


def failing(store: Store, worker: Worker, count: int = 5) -> int:
    """A batch that has failed."""
    no = load(store, count)[0]
    worker.fail(*worker.claim(count))
    return no


# -- cancel


def test_cancel_ends_what_waits_and_tells_what_runs(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    no = load(store, 6)[0]
    running, later = worker.claim(2)
    worker.put_off(later, until=clock.ms + 60_000)
    assert store.cancel_batch(no, "ann") == 5
    assert states(peek) == "pccccc"
    assert status(peek) == "processing"
    assert peek("SELECT id FROM items WHERE cancel_requested = 1") == [(running.number,)]
    worker.give_back(running)
    assert status(peek) == "cancelled"
    assert store.cancel_batch(no, "ann") == 0


def test_cancel_one_item(store: Store, worker: Worker) -> None:
    load(store, 3)
    assert store.cancel_items([2], "ann") == 1
    assert keys(worker.claim(5)) == ["k1", "k3"]
    assert store.cancel_items([1, 2, 99], "ann") == 0


def test_cancelling_all_items_one_by_one_ends_the_batch(store: Store, peek: Peek) -> None:
    load(store, 5)
    assert store.cancel_items(range(1, 6), "ann") == 5
    assert status(peek) == "cancelled"


def test_a_suspect_is_cancelled_like_any_other(store: Store, peek: Peek) -> None:
    no = load(store, 2)[0]
    with store.engine.write() as tx:
        tx.run("mark_suspect", {"id": 1, "alone": 0})
    assert store.cancel_batch(no, "ann") == 2
    assert status(peek) == "cancelled"


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_cancel_takes_no_claims_and_is_finished_by_recovery(
    store: Store, worker: Worker, peek: Peek, after: int
) -> None:
    no = load(store, 5)[0]
    with power_cut(store, after):
        store.cancel_batch(no, "ann")
    assert worker.claim(5) == []
    assert status(peek) == "pending"
    assert bulk.finish_interrupted(store.engine) == 1
    assert (states(peek), status(peek)) == ("ccccc", "cancelled")
    assert bulk.finish_interrupted(store.engine) == 0


# -- retry


def test_retry_gives_failed_items_fresh_attempts_and_opens_the_batch(
    store: Store, worker: Worker, clock: Clock, peek: Peek
) -> None:
    no = load(store, 2)[0]
    one, two = worker.claim(2)
    worker.complete(one)
    worker.put_off(two, until=clock.ms)
    worker.fail(*worker.claim())
    assert store.retry(no, "ann") == 1
    assert peek("SELECT status, run_no, completed_at, failed_items FROM batches") == [("processing", 2, None, 0)]
    (again,) = worker.claim(5)
    assert (again.number, again.attempt, again.idempotency_key) == (2, 1, two.idempotency_key)
    worker.complete(again)
    assert status(peek) == "completed"
    ends = peek("SELECT detail FROM events WHERE event LIKE 'completed%' ORDER BY id")
    assert [json.loads(detail)["run_no"] for (detail,) in ends] == [1, 2]
    assert peek("SELECT claim_no, outcome FROM attempts WHERE item_id = 2") == [
        (1, "retry"),
        (2, "failed"),
        (3, "completed"),
    ]


def test_retry_takes_cancelled_items_when_asked(store: Store, worker: Worker, peek: Peek) -> None:
    no = load(store, 3)[0]
    store.cancel_batch(no, "ann")
    assert store.retry(no, "ann") == 0
    assert store.retry(no, "ann", states={"failed", "cancelled"}) == 3
    worker.complete(*worker.claim(5))
    assert status(peek) == "completed"


def test_a_batch_cancelled_before_its_first_claim_has_a_start_once_it_is_retried(
    store: Store, worker: Worker, peek: Peek
) -> None:
    no = load(store, 1)[0]
    store.cancel_batch(no, "ann")
    store.retry(no, "ann", states={"cancelled"})
    worker.claim()
    assert peek("SELECT started_at FROM batches") == [(kit.START,)]


def test_retry_of_an_item_leaves_a_batch_pending_that_nobody_has_claimed(
    store: Store, worker: Worker, peek: Peek
) -> None:
    no = load(store, 2)[0]
    store.cancel_items([1], "ann")
    store.retry(no, "ann", states={"cancelled"})
    assert status(peek) == "pending"
    worker.claim()
    assert status(peek) == "processing"


def test_retry_picks_by_item_and_by_the_text_of_the_error(store: Store, worker: Worker, peek: Peek) -> None:
    no = load(store, 4)[0]
    items = worker.claim(4)
    worker.fail(items[0], items[1], message="no such Customer 17")
    worker.fail(items[2], items[3], message="out of stock")
    assert store.retry(no, "ann", error="CUSTOMER") == 2
    assert store.retry(no, "ann", item_ids=[4, 1]) == 1
    assert states(peek) == "ppfp"


def test_retry_with_new_payloads_takes_just_those_keys(store: Store, worker: Worker) -> None:
    no = failing(store, worker, 3)
    fresh = json.dumps({"id": "k2", "amount": 5})
    assert store.retry(no, "ann", payloads={"k2": fresh, "nobody": "{}"}) == 1
    (item,) = worker.claim(5)
    assert (item.key, item.payload) == ("k2", {"id": "k2", "amount": 5})


def test_a_new_payload_gets_a_new_idempotency_key(store: Store, worker: Worker) -> None:
    no = load(store, 1)[0]
    (first,) = worker.claim()
    worker.fail(first)
    store.retry(no, "ann", payloads={"k1": "{}"})
    assert worker.claim()[0].idempotency_key != first.idempotency_key


def test_a_retry_that_takes_nothing_changes_nothing(store: Store, worker: Worker, peek: Peek) -> None:
    no = failing(store, worker)
    before = peek("SELECT * FROM batches"), peek("SELECT count(*) FROM events")
    assert store.retry(no, "ann", payloads={"nobody": "{}"}) == 0
    assert store.retry(no, "ann", error="no such text") == 0
    assert store.retry(no, "ann", item_ids=[]) == 0
    assert (peek("SELECT * FROM batches"), peek("SELECT count(*) FROM events")) == before


def test_a_retried_suspect_is_none_any_more(store: Store, worker: Worker, peek: Peek) -> None:
    no = failing(store, worker, 1)
    with store.engine.write() as tx:
        tx.run("mark_suspect", {"id": 1, "alone": 1})
    store.retry(no, "ann")
    assert peek("SELECT suspect, crashes FROM items") == [(0, 0)]
    assert len(worker.claim()) == 1


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_retry_is_finished_by_recovery(store: Store, worker: Worker, peek: Peek, after: int) -> None:
    no = failing(store, worker)
    with power_cut(store, after):
        store.retry(no, "ann", from_start=True)
    assert bulk.finish_interrupted(store.engine) == 1
    assert states(peek) == "ppppp"
    assert peek("SELECT actor, count FROM events WHERE event = 'retry'") == [("ann", 5)]
    worker.complete(*worker.claim(5))
    assert status(peek) == "completed"


def test_what_failed_again_before_recovery_is_not_retried_a_second_time(
    store: Store, worker: Worker, peek: Peek
) -> None:
    no = failing(store, worker)
    with power_cut(store, 2):
        store.retry(no, "ann")
    worker.fail(*worker.claim(5))
    bulk.finish_interrupted(store.engine)
    assert states(peek) == "ffppp"


def test_an_interrupted_retry_with_payloads_ends_where_it_was(store: Store, worker: Worker, peek: Peek) -> None:
    no = failing(store, worker)
    with power_cut(store, 2):
        store.retry(no, "ann", payloads={f"k{n}": "{}" for n in range(1, 6)})
    bulk.finish_interrupted(store.engine)
    assert states(peek) == "ppfff"
    worker.complete(*worker.claim(5))
    assert status(peek) == "completed_with_errors"


def test_the_batch_does_not_end_while_a_retry_is_open(store: Store, worker: Worker, peek: Peek) -> None:
    no = failing(store, worker)
    with power_cut(store, 2):
        store.retry(no, "ann")
    worker.complete(*worker.claim(5))
    assert status(peek) == "processing"
    bulk.finish_interrupted(store.engine)
    worker.complete(*worker.claim(5))
    assert status(peek) == "completed"


def test_a_retry_goes_on_after_an_interrupted_cancel(store: Store, worker: Worker) -> None:
    no = load(store, 5)[0]
    with power_cut(store, 2):
        store.cancel_batch(no, "ann")
    assert store.retry(no, "ann", states={"cancelled"}) == 5
    assert len(worker.claim(9)) == 5


# -- two at once


def test_a_cancel_stops_a_retry_that_is_under_way(store: Store, database: Database, worker: Worker, peek: Peek) -> None:
    no = failing(store, worker)
    other = database.open()
    with between_chunks(store, lambda: other.cancel_batch(no, "eve"), after=2):
        assert store.retry(no, "ann") == 2
    other.close()
    assert (states(peek), status(peek)) == ("ccfff", "cancelled")
    assert peek("SELECT count(*) FROM ready_groups") == [(0,)]


def test_a_retry_is_refused_while_somebody_cancels(
    store: Store, database: Database, worker: Worker, peek: Peek
) -> None:
    no = load(store, 5)[0]
    worker.fail(*worker.claim())
    other = database.open()
    refused: list[str] = []

    def retry() -> None:
        with pytest.raises(UsageError) as error:
            other.retry(no, "eve")
        refused.append(error.value.message)

    with between_chunks(store, retry, after=2):
        store.cancel_batch(no, "ann")
    other.close()
    assert "another command" in refused[0]
    assert (states(peek), status(peek)) == ("fcccc", "cancelled")


def test_recovery_leaves_an_act_whose_process_lives(store: Store, database: Database, worker: Worker) -> None:
    no = failing(store, worker)
    other = database.open()
    found: list[int] = []
    with between_chunks(store, lambda: found.append(bulk.finish_interrupted(other.engine)), after=2):
        assert store.retry(no, "ann") == 5
    other.close()
    assert found == [0]


def test_an_act_that_ends_while_recovery_looks_is_not_done_again(
    store: Store, database: Database, peek: Peek, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery has read that a cancel is open; it ends, the batch is retried, then recovery finds its process gone."""
    no = load(store, 5)[0]
    other = database.open()
    with power_cut(store, 2):
        store.cancel_batch(no, "ann")

    def alive(_: str) -> bool:
        monkeypatch.undo()
        bulk.finish_interrupted(store.engine)
        store.retry(no, "ann", states={"cancelled"})
        return False

    monkeypatch.setattr(other.engine, "alive", alive)
    assert bulk.finish_interrupted(other.engine) == 0
    other.close()
    assert states(peek) == "ppppp"
