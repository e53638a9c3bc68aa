"""Promise 4 in the store: refunds, gates, probes, and going on, on every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from batchctl import guard
from batchctl.model import AttemptOutcome, Item, ItemError, ItemState, WaitingFor
from batchctl.store import Store
from batchctl.transitions import bulk, outage_ends
from batchctl.transitions.outages import ANY, Kind, Sign, troubled, weigh
from batchctl.transitions.recording import Settled, record
from store.kit import Clock, Worker, completed, keys, load, numbers, scope, settled

Peek = Callable[..., list[tuple[Any, ...]]]
ORIGIN = "https://api.example.com:443"
STATES = "SELECT state, waiting_for, attempts_used FROM items ORDER BY id"


@dataclass
class Guarded(Worker):
    """A worker whose outcomes are held against the guard. `gates`: its items all ask one origin."""

    gates: bool = True
    retries: int = 3
    max_outage: int = 86_400_000
    told: list[tuple[Item, Kind, str]] = field(default_factory=list)

    def ends(self, *outcomes: tuple[Item, Kind, str]) -> list[Settled]:
        now = self.store.engine.now()
        rows = [self._settled(item, kind, now) for item, kind, _ in outcomes]
        signs = [
            Sign(at, kind, item.processor, origin, self.gates, self.max_outage)
            for at, (item, kind, origin) in enumerate(outcomes)
        ]
        with self.store.engine.write(shared=True) as tx:
            weighed = weigh(tx, rows, signs, now)
            return record(tx, self.id, weighed.settled, now, weighed)

    def _settled(self, item: Item, kind: Kind, now: int) -> Settled:
        if kind is Kind.ANSWER:
            return completed(item, now)
        error = ItemError("ConnectError", "refused")
        if item.attempt > self.retries:
            return settled(item, now, ItemState.FAILED, AttemptOutcome.FAILED, error=error)
        again = {"waiting_for": WaitingFor.RETRY, "next_attempt_at": now + 100}
        return settled(item, now, ItemState.WAITING, AttemptOutcome.RETRY, error=error, **again)

    def down(self, *items: Item, origin: str = ORIGIN) -> list[Settled]:
        return self.ends(*((item, Kind.DOWN, origin) for item in items))

    def answer(self, *items: Item, origin: str = ORIGIN) -> list[Settled]:
        return self.ends(*((item, Kind.ANSWER, origin) for item in items))

    def unsent(self, *items: Item, origin: str = ORIGIN) -> list[Settled]:
        return self.ends(*((item, Kind.UNSENT, origin) for item in items))


@pytest.fixture
def guarded(store: Store) -> Guarded:
    return Guarded(store, "w1", scope("p"))


def probe(worker: Worker, clock: Clock, peek: Peek) -> list[Item]:
    """The clock goes on to the next probe, which is claimed."""
    ((at,),) = peek("SELECT probe_at FROM outages WHERE out_since IS NOT NULL")
    assert worker.claim(5) == []
    clock.ms = at
    return worker.claim(5)


def test_a_run_of_failures_costs_nothing_and_shuts_the_processor(store: Store, guarded: Guarded, peek: Peek) -> None:
    load(store, 6)
    first, second, third, fourth = guarded.claim(4)
    guarded.down(first)
    guarded.down(second)
    assert peek(STATES)[:2] == [("waiting", "retry", 1)] * 2
    guarded.down(third)
    assert guarded.claim(5) == []  # the refunds come with the next claim
    assert peek(STATES)[:3] == [("waiting", "outage", 0)] * 3
    assert peek("SELECT counted, outcome FROM attempts") == [(0, "outage")] * 3
    guarded.down(fourth)  # it was under way
    assert peek(STATES)[3] == ("waiting", "outage", 0)
    assert peek(STATES)[4:] == [("pending", None, 0)] * 2
    assert [row for (row,) in peek("SELECT event FROM events ORDER BY id")][-1] == "outage"


def test_all_in_one_commit(store: Store, guarded: Guarded, peek: Peek) -> None:
    load(store, 5)
    guarded.down(*guarded.claim(5))
    assert peek(STATES) == [("waiting", "outage", 0)] * 5
    assert peek("SELECT counted, outcome FROM attempts") == [(0, "outage")] * 5


def test_one_probe_at_a_time_and_a_success_lets_everything_go(
    store: Store, guarded: Guarded, clock: Clock, peek: Peek
) -> None:
    load(store, 5)
    guarded.down(*guarded.claim(4))
    other = Guarded(store, "w2", scope("p"))
    (one,) = probe(guarded, clock, peek)
    assert other.claim(5) == []
    clock.advance(10 * guard.LONGEST_PAUSE)
    assert other.claim(5) == []  # however long the probe takes
    guarded.down(one)
    (pause,) = [at - clock.ms for (at,) in peek("SELECT probe_at FROM outages WHERE out_since IS NOT NULL")]
    assert pause == 2 * guard.FIRST_PAUSE
    (one,) = probe(other, clock, peek)
    other.answer(one)
    left = guarded.claim(5)
    assert len(left) == 4
    guarded.answer(*left)
    assert peek("SELECT status, completed_items FROM batches") == [("completed", 5)]
    assert peek("SELECT DISTINCT attempts_used FROM items") == [(1,)]
    assert peek("SELECT count(*) FROM outage_items") == [(0,)]
    assert peek("SELECT troubled, answered FROM outages WHERE origin <> ''") == [(0, 1)]
    assert [row for (row,) in peek("SELECT event FROM events ORDER BY id")][-2:] == ["outage_over", "completed"]


def test_a_probe_that_went_back_or_died_is_followed_by_another(
    store: Store, guarded: Guarded, clock: Clock, peek: Peek
) -> None:
    load(store, 5)
    guarded.down(*guarded.claim(4))
    (one,) = probe(guarded, clock, peek)
    guarded.give_back(one)
    (again,) = guarded.claim(5)
    guarded.answer(again)
    assert len(guarded.claim(5)) == 4


def test_failed_items_are_reopened_while_their_batch_is(store: Store, guarded: Guarded, peek: Peek) -> None:
    guarded.retries = 0
    load(store, 4)
    first, second, third = guarded.claim(3)
    guarded.down(first)
    guarded.down(second)
    assert peek("SELECT failed_items FROM batches") == [(2,)]
    guarded.down(third)
    guarded.claim(1)
    assert peek("SELECT failed_items, run_failures FROM batches") == [(0, 0)]
    assert peek(STATES)[:3] == [("waiting", "outage", 0)] * 3
    assert peek("SELECT item_id FROM item_results") == []


def test_what_had_ended_stays_as_it_ended(store: Store, guarded: Guarded, peek: Peek) -> None:
    guarded.retries = 0
    load(store, 1)
    guarded.down(*guarded.claim(1))
    assert peek("SELECT status FROM batches") == [("failed",)]
    load(store, 2)
    guarded.down(*guarded.claim(2))
    guarded.claim(1)
    assert peek(STATES) == [("failed", None, 0), *[("waiting", "outage", 0)] * 2]
    assert peek("SELECT status FROM batches ORDER BY no") == [("failed",), ("processing",)]


def test_an_answer_in_between_makes_failures_stand(store: Store, guarded: Guarded, peek: Peek) -> None:
    load(store, 6)
    first, second, third, fourth, fifth = guarded.claim(5)
    guarded.ends((first, Kind.DOWN, ORIGIN), (second, Kind.DOWN, ORIGIN), (third, Kind.ANSWER, ORIGIN))
    assert peek("SELECT count(*) FROM outage_items") == [(0,)]
    guarded.down(fourth)
    guarded.down(fifth)
    assert [row[2] for row in peek(STATES)] == [1, 1, 1, 1, 1, 0]
    assert peek("SELECT failures, out_since FROM outages WHERE origin <> ''") == [(2, None)]


def test_one_item_that_never_got_an_answer_is_its_own_fault(
    store: Store, guarded: Guarded, clock: Clock, peek: Peek
) -> None:
    load(store, 1)
    for _ in range(4):
        guarded.down(*guarded.claim(1))
        clock.advance(1000)
    assert peek(STATES) == [("failed", None, 4)]


def test_other_origins_of_the_processor_go_on(store: Store, guarded: Guarded, clock: Clock, peek: Peek) -> None:
    guarded.gates = False
    load(store, 8)
    items = guarded.claim(4)
    guarded.down(*items[:3])
    assert peek("SELECT gates FROM outages WHERE out_since IS NOT NULL") == [(0,)]
    guarded.answer(items[3], origin="https://other.example.com:443")
    fifth, sixth = guarded.claim(2)
    guarded.unsent(fifth)  # the worker knows that nobody is there
    assert peek(STATES)[4] == ("waiting", "outage", 0)
    assert peek("SELECT count(*) FROM attempts WHERE item_id = ?", fifth.number) == [(0,)]
    ((at,),) = peek("SELECT probe_at FROM outages WHERE out_since IS NOT NULL")
    clock.ms = at
    claimed = guarded.claim(5)
    ((probing,),) = peek("SELECT probe_item FROM outages WHERE out_since IS NOT NULL")
    assert probing == items[0].number
    assert probing in numbers(claimed)
    assert len(claimed) == 3  # the probe and what is fresh
    guarded.answer(*[item for item in claimed if item.number == probing])
    assert sorted(keys(guarded.claim(5))) == ["k2", "k3", "k5"]
    guarded.answer(sixth)


def test_unsent_items_go_on_where_the_outage_is_over(store: Store, guarded: Guarded, peek: Peek) -> None:
    load(store, 1)
    guarded.unsent(*guarded.claim(1))
    assert peek(STATES) == [("pending", None, 0)]
    assert peek("SELECT count(*) FROM attempts") == [(0,)]


def test_after_max_outage_failures_count_again(store: Store, guarded: Guarded, clock: Clock, peek: Peek) -> None:
    guarded.max_outage = 60_000
    load(store, 4)
    guarded.down(*guarded.claim(3))
    clock.advance(60_000)
    items = guarded.claim(5)
    assert len(items) == 4
    guarded.down(*items)
    assert peek(STATES) == [("waiting", "retry", 1)] * 4
    for _ in range(3):
        clock.advance(1000)
        guarded.down(*guarded.claim(5))
    assert peek("SELECT status, failed_items FROM batches") == [("failed", 4)]


def test_an_answer_of_nobody_in_particular_is_for_all(store: Store, guarded: Guarded, clock: Clock, peek: Peek) -> None:
    load(store, 5)
    guarded.down(*guarded.claim(3))
    (one,) = probe(guarded, clock, peek)
    guarded.answer(one, origin=ANY)
    assert len(guarded.claim(5)) == 4


def test_a_probe_of_a_new_address_ends_the_old_outage(store: Store, guarded: Guarded, clock: Clock, peek: Peek) -> None:
    """The config names another host now."""
    load(store, 5)
    guarded.down(*guarded.claim(3))
    (one,) = probe(guarded, clock, peek)
    guarded.answer(one, origin="https://new.example.com:443")
    assert len(guarded.claim(5)) == 4


def test_a_person_may_end_it(store: Store, guarded: Guarded, peek: Peek) -> None:
    load(store, 5)
    guarded.down(*guarded.claim(3))
    assert guarded.claim(5) == []
    assert store.resume_processor("p", "anna")
    assert len(guarded.claim(5)) == 5
    assert peek("SELECT troubled FROM outages WHERE origin <> ''") == [(0,)]


def test_cancelled_items_are_forgotten(store: Store, guarded: Guarded, clock: Clock, peek: Peek) -> None:
    (no,) = load(store, 5)
    guarded.down(*guarded.claim(5))
    store.cancel_batch(no, None)
    assert peek("SELECT status FROM batches") == [("cancelled",)]
    load(store, 1)
    ((at,),) = peek("SELECT probe_at FROM outages WHERE out_since IS NOT NULL")
    clock.ms = at
    (one,) = guarded.claim(5)
    guarded.answer(one)
    guarded.claim(1)
    assert peek("SELECT count(*) FROM outage_items") == [(0,)]


def test_many_items_go_on_in_portions(
    store: Store, guarded: Guarded, clock: Clock, peek: Peek, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage_ends, "_PORTION", 3)
    load(store, 10)
    guarded.down(*guarded.claim(10))
    (one,) = probe(guarded, clock, peek)
    guarded.answer(one)
    got: list[Item] = []
    for _ in range(4):
        got += guarded.claim(10)
    assert len(got) == 9


def test_a_late_answer_from_a_lost_lease_is_no_failure_of_the_item(store: Store, guarded: Guarded, peek: Peek) -> None:
    load(store, 4)
    items = guarded.claim(3)
    guarded.give_back(*items)
    guarded.down(*items)
    assert peek(STATES) == [("pending", None, 0)] * 4
    assert peek("SELECT count(*) FROM outage_items") == [(0,)]


def test_two_workers_find_out_together(store: Store, clock: Clock, peek: Peek) -> None:
    load(store, 8)
    workers = [Guarded(store, f"w{n}", scope("p")) for n in (1, 2)]
    held: list[Sequence[Item]] = [one.claim(4) for one in workers]
    for n in range(4):
        for worker, items in zip(workers, held, strict=True):
            worker.down(items[n])
    workers[0].claim(1)
    assert peek(STATES) == [("waiting", "outage", 0)] * 8
    with store.engine.read() as tx:
        (origin,) = troubled(tx)
    assert origin.out(clock.ms)


def test_the_failure_limit_counts_no_outage(store: Store, guarded: Guarded, peek: Peek) -> None:
    guarded.retries = 0
    load(store, 8, max_failures=3)
    for item in guarded.claim(4):
        guarded.down(item)
    guarded.claim(1)
    assert not bulk.carry_on(store.engine, 1.0)
    assert peek("SELECT status, failed_items, limit_reached FROM batches") == [("processing", 0, 0)]
