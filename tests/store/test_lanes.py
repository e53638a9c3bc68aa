"""Lanes: so many at once, in order, whatever becomes of those before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from batchctl import outlook
from batchctl.membership import Membership
from batchctl.model import ItemState
from batchctl.outlook import Left
from batchctl.store import Scope, Store
from batchctl.transitions import lanes, recovering
from batchctl.views import Views
from store import kit
from store.kit import Clock, Worker, keys, load
from store.lanekit import PACED, Definition, Rate, Rules, adopt, laned

Peek = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def worker(store: Store) -> Worker:
    adopt(store, Definition(Rules()))
    return Worker(store, "w1", PACED)


@pytest.fixture
def other(store: Store) -> Iterator[Worker]:
    return Worker(store, "w2", PACED)


def test_each_lane_gives_its_first_item_and_the_next_when_that_has_ended(store: Store, worker: Worker) -> None:
    load(store, laned("AABAB"))
    first = worker.claim(10)
    assert keys(first) == ["k1A", "k3B"]
    assert [item.lane for item in first] == ["A", "B"]
    assert worker.claim(10) == []
    worker.complete(first[0])
    second = worker.claim(10)
    assert keys(second) == ["k2A"]
    worker.fail(*second)
    worker.complete(first[1])
    assert keys(worker.claim(10)) == ["k4A", "k5B"]


def test_a_lane_with_several_slots(store: Store, worker: Worker) -> None:
    adopt(store, Definition(Rules(concurrency=2)))
    load(store, laned("AAAA"))
    first = worker.claim(10)
    assert keys(first) == ["k1A", "k2A"]
    worker.complete(first[1])
    assert keys(worker.claim(10)) == ["k3A"]


def test_organizations_have_lanes_of_their_own(store: Store, worker: Worker) -> None:
    load(store, laned("A"), organization="north")
    load(store, laned("A"), organization="south")
    assert len(worker.claim(10) + worker.claim(10)) == 2  # on a busy server the second lane may be seen to later


def test_an_older_batch_goes_first_a_higher_priority_before_it(store: Store, worker: Worker) -> None:
    load(store, laned("A", "old"))
    load(store, laned("A", "young"))
    load(store, laned("A", "high"), priority=kit.HIGH)
    for key in ("high1A", "old1A", "young1A"):
        (item,) = worker.claim(10)
        assert item.key == key
        worker.complete(item)


def test_a_higher_priority_takes_the_place_of_one_that_has_not_started(
    store: Store, worker: Worker, peek: Peek
) -> None:
    load(store, laned("A", "old"))
    assert worker.claim(0) == []
    assert peek("SELECT key FROM items WHERE state = 'pending'") == [("old1A",)]
    (no,) = load(store, laned("A", "young"))
    store.alter(no, None, priority=kit.HIGH)
    assert keys(worker.claim(10)) == ["young1A"]


def test_one_that_waits_for_its_next_try_keeps_its_lane(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, laned("AAB"))
    first, _ = worker.claim(10)
    worker.put_off(first, until=clock() + 1_000)
    load(store, laned("A", "high"), priority=kit.HIGH)
    assert worker.claim(10) == []
    clock.advance(1_000)
    assert keys(worker.claim(10)) == ["high1A"]


def test_with_several_slots_one_that_waits_for_its_next_try_gives_way(
    store: Store, worker: Worker, clock: Clock
) -> None:
    adopt(store, Definition(Rules(concurrency=2)))
    load(store, laned("AAA"))
    first, second = worker.claim(10)
    worker.put_off(first, until=clock() + 1_000)
    assert keys(worker.claim(10)) == ["k3A"]
    clock.advance(1_000)
    assert worker.claim(10) == []
    worker.complete(second)
    assert keys(worker.claim(10)) == ["k1A"]


def test_one_that_is_handed_back_goes_again(store: Store, worker: Worker, other: Worker) -> None:
    load(store, laned("AA"))
    worker.give_back(*worker.claim(10))
    assert keys(other.claim(10)) == ["k1A"]


def test_a_dead_workers_item_keeps_its_place(store: Store, worker: Worker, other: Worker) -> None:
    load(store, laned("AA"))
    (item,) = worker.claim(10)
    recovering.release_worker(store.engine, "w1", frozenset({(item.number, item.claim_no)}), 3)
    assert other.claim(10) == []
    suspect = other.claim_suspect()
    assert suspect is not None
    assert suspect.key == "k1A"
    other.complete(suspect)
    assert keys(other.claim(10)) == ["k2A"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_cancelled_item_frees_its_lane(store: Store, worker: Worker, whole: bool, peek: Peek) -> None:
    (no,) = load(store, laned("A", "old"))
    load(store, laned("A", "young"))
    worker.claim(0)
    if whole:
        store.cancel_batch(no, None)
    else:
        store.cancel_items([number for (number,) in peek("SELECT id FROM items WHERE batch_no = ?", no)], None)
    assert keys(worker.claim(10)) == ["young1A"]


def test_a_paused_batch_keeps_nobody_back(store: Store, worker: Worker, clock: Clock) -> None:
    (no,) = load(store, laned("A", "old"))
    load(store, laned("A", "young"))
    worker.claim(0)
    store.pause([no], clock() + 5_000, None)
    (young,) = worker.claim(10)
    assert young.key == "young1A"
    clock.advance(5_000)
    assert worker.claim(10) == []
    worker.complete(young)
    assert keys(worker.claim(10)) == ["old1A"]


def test_a_scheduled_batch_lines_up_at_its_time(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, laned("A", "old"), not_before=clock() + 5_000)
    assert worker.claim(10) == []
    clock.advance(5_000)
    assert keys(worker.claim(10)) == ["old1A"]


def test_a_lower_limit_takes_back_what_has_not_started(store: Store, worker: Worker) -> None:
    adopt(store, Definition(Rules(concurrency=3)))
    load(store, laned("AAAA"))
    first = worker.claim(1)
    adopt(store, Definition(Rules(concurrency=1)))
    assert worker.claim(10) == []
    adopt(store, Definition(Rules(concurrency=2)))
    assert keys(worker.claim(10)) == ["k2A"]
    adopt(store, Definition(Rules(concurrency=4)))
    assert keys(worker.claim(10)) == ["k3A", "k4A"]
    worker.complete(*first)


def test_the_first_config_holds_for_lanes_that_stand_already(store: Store) -> None:
    load(store, laned("AAA"))
    worker = Worker(store, "w1", PACED)
    assert worker.claim(0) == []  # whose config says nothing of lanes: the heads are worked out, one a lane
    adopt(store, Definition(Rules(concurrency=2)))
    assert keys(worker.claim(10)) == ["k1A", "k2A"]


def test_a_retried_item_goes_before_the_younger_ones(store: Store, worker: Worker) -> None:
    (no,) = load(store, laned("AAA"))
    worker.fail(*worker.claim(10))
    (second,) = worker.claim(10)
    assert store.retry(no, None) == 1
    worker.complete(second)
    assert keys(worker.claim(10)) == ["k1A"]


def test_a_failure_holds_the_lane_until_somebody_says_so(store: Store, worker: Worker, peek: Peek) -> None:
    adopt(store, Definition(Rules(on_failure="hold")))
    (no,) = load(store, laned("AAB"))
    first, other = worker.claim(10)
    worker.fail(first)
    worker.complete(other)
    assert worker.claim(10) == []
    assert peek("SELECT value, held_by FROM lanes WHERE held_by IS NOT NULL") == [("A", first.number)]
    assert store.resume([no], "me") == 1
    assert keys(worker.claim(10)) == ["k2A"]


def test_a_retry_ends_the_hold(store: Store, worker: Worker) -> None:
    adopt(store, Definition(Rules(on_failure="hold")))
    (no,) = load(store, laned("AA"))
    worker.fail(*worker.claim(10))
    store.retry(no, None)
    assert keys(worker.claim(10)) == ["k1A"]


def test_a_config_that_goes_on_after_failures_ends_all_holds(store: Store, worker: Worker) -> None:
    adopt(store, Definition(Rules(on_failure="hold")))
    load(store, laned("AA"))
    worker.fail(*worker.claim(10))
    adopt(store, Definition(Rules()))
    assert keys(worker.claim(10)) == ["k2A"]


def test_the_last_row_of_a_key_says_its_lane(store: Store, worker: Worker) -> None:
    rows = laned("AB")
    rows[1] = type(rows[1])(rows[0].key, 2, rows[1].payload, rows[1].where, lane="B")
    loading = kit.begin(store, on_duplicate="last")
    loading.add(rows)
    loading.finish("content", again=True)
    (item,) = worker.claim(10)
    assert (item.lane, item.raw_payload) == ("B", rows[1].payload)


def test_more_lanes_than_one_claim_works_out(store: Store, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_AT_ONCE", 3)
    monkeypatch.setattr(lanes, "_ROUND", -1.0)
    load(store, laned([f"L{n}" for n in range(10)] * 2))
    taken = [len(worker.claim(100)) for _ in range(5)]
    assert taken == [3, 3, 3, 1, 0]


def test_check_frees_a_lane_that_should_never_be_stuck(store: Store, worker: Worker, database: Any) -> None:
    load(store, laned("AABC"))
    worker.claim(0)
    database.change("UPDATE items SET state = 'waiting', waiting_for = 'lane' WHERE state = 'pending' AND lane = 'A'")
    database.change("UPDATE lane_batches SET open = 1")
    assert keys(worker.claim(10)) == ["k3B", "k4C"]
    assert lanes.catch_up_all(store.engine) == 1
    assert keys(worker.claim(10)) == ["k1A"]


def test_a_batch_that_is_deleted_leaves_no_lanes_behind(store: Store, peek: Peek) -> None:
    loading = kit.begin(store)
    loading.add(laned("AB"))
    loading.abort()
    assert peek("SELECT count(*) FROM lane_batches") == [(0,)]


# -- rates


def starts(worker: Worker, clock: Clock, count: int) -> list[int]:
    """The moments at which items start that are claimed as soon as may be, and end at once."""
    begun = clock()
    found: list[int] = []
    while len(found) < count:
        for item in worker.claim(10):
            assert item.start_at is not None
            found.append(item.start_at - begun)
            worker.record(kit.completed(item, item.start_at))
        clock.advance(10)
    return found


def test_a_processors_rate_spreads_the_starts_of_all_workers(store: Store, clock: Clock) -> None:
    adopt(store, Definition(rate=Rate(10, 1)))
    load(store, 7)
    first, second = Worker(store, "w1", PACED), Worker(store, "w2", PACED)
    found = []
    while len(found) < 7:
        for worker in (first, second):
            for item in worker.claim(10):
                assert item.start_at is not None
                found.append(item.start_at)
                worker.complete(item)
        clock.advance(7)
    assert all(abs(after - before - 100) <= 1 for before, after in itertools.pairwise(found))


def test_a_lanes_rate(store: Store, worker: Worker, clock: Clock) -> None:
    adopt(store, Definition(Rules(rate=Rate(2, 1))))
    load(store, laned("AAAA"))
    found = starts(worker, clock, 4)
    assert all(500 <= after - before <= 510 for before, after in itertools.pairwise(found))


def test_a_lanes_rate_with_several_slots(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    adopt(store, Definition(Rules(concurrency=3, rate=Rate(2, 1))))
    load(store, laned("AAAA"))
    (first,) = worker.claim(10)
    assert peek("SELECT count(*) FROM items WHERE waiting_for = 'rate'") == [(2,)]
    clock.advance(2_000)
    assert [item.start_at for item in worker.claim(10)] == [clock() + 50]
    worker.complete(first)


def test_a_late_start_pushes_the_next_one_back(store: Store, clock: Clock) -> None:
    adopt(store, Definition(rate=Rate(1, 1)))
    load(store, 2)
    worker = Worker(store, "w1", PACED)
    (item,) = worker.claim(10)
    clock.advance(900)
    worker.record(kit.settled(item, clock(), ItemState.COMPLETED, None, started_at=clock(), late="p"))
    late = clock()
    clock.advance(1_000)
    (second,) = worker.claim(10)
    assert second.start_at is not None
    assert second.start_at >= late + 1_000


def test_what_a_processors_rate_keeps_waits_for_it_until_its_time(store: Store, clock: Clock) -> None:
    adopt(store, Definition(rate=Rate(1, 60)))
    (no,) = load(store, 3)
    views = Views(store.engine)
    (item,) = Worker(store, "w1", PACED).claim(10)
    shown = [(one["state"], one["waiting_for"]) for one in views.items(no)]
    assert shown == [("processing", None), ("waiting", "rate"), ("waiting", "rate")]
    assert [one["key"] for one in views.items(no, "waiting")] == ["k2", "k3"]
    batch = views.batch(no)
    assert (batch["pending_items"], batch["waiting_items"], batch["paused"]) == (0, 2, False)
    gate = views.gate(no)
    assert gate is not None
    assert gate.until == item.start_at + 60_000 if item.start_at else None
    clock.advance(61_000)
    assert [one["state"] for one in views.items(no)] == ["processing", "pending", "pending"]


def test_nothing_is_claimed_ahead_at_a_rate(store: Store) -> None:
    adopt(store, Definition(rate=Rate(1000, 1)))
    load(store, 50)
    worker = Worker(store, "w1", PACED)
    with store.engine.write(shared=True) as tx:
        assert len(worker.claimer.claim(tx, PACED, 50, store.engine.now(), 5)) == 5


def test_a_rate_that_is_gone_keeps_nothing_back(store: Store) -> None:
    adopt(store, Definition(rate=Rate(1, 60)))
    load(store, 3)
    worker = Worker(store, "w1", PACED)
    assert len(worker.claim(10)) == 1
    assert worker.claimer.opens_at is not None
    adopt(store, Definition())
    assert len(worker.claim(10)) == 2


def outlook_of(store: Store, scope: Scope, *others: Scope) -> Left:
    """What a worker with this scope should do next, where those others are alive."""
    with ExitStack() as stack:
        for one in others:
            names = sorted(one.processors)
            stack.enter_context(Membership(store.engine, 60.0, 1, names, bounds=one.bounds()))
        with store.engine.read() as tx:
            return outlook.judge(outlook.look_into_lanes(tx, outlook.facts(tx), scope, "w1"), scope)


def test_whether_somebody_works_on_what_goes_first_in_a_lane(store: Store, worker: Worker) -> None:
    (older,) = load(store, laned("AB"))
    (newer,) = load(store, laned("A"), content="newer")
    assert worker.claim(10, replace(PACED, batch_nos=(newer,))) == []
    mine, whole = replace(PACED, batch_nos=(newer,)), replace(PACED, batch_nos=(newer, older))
    assert outlook_of(store, mine) is Left.HELD
    assert outlook_of(store, whole) is Left.WAIT
    assert outlook_of(store, PACED) is Left.WAIT
    for other, left in (
        (PACED, Left.WAIT),
        (replace(PACED, batch_nos=(older,)), Left.WAIT),
        (replace(PACED, batch_nos=(newer,)), Left.HELD),
        (replace(PACED, organization="acme"), Left.HELD),
        (kit.scope("q"), Left.HELD),
    ):
        assert outlook_of(store, mine, other) is left, other
    Worker(store, "w2", PACED).claim(1)
    assert outlook_of(store, mine) is Left.WAIT  # it runs
    store.pause([older], None, None)
    assert outlook_of(store, mine) is Left.WAIT


def test_what_may_go_in_one_lane_outweighs_what_waits_in_another(store: Store, worker: Worker) -> None:
    (older,) = load(store, laned("A"))
    (newer,) = load(store, laned("AB"), content="newer")
    mine = replace(PACED, batch_nos=(newer,))
    assert outlook_of(store, mine) is Left.WAIT
    worker.complete(*worker.claim(10, mine))
    assert outlook_of(store, mine) is Left.HELD
    store.pause([older], None, None)
    assert outlook_of(store, mine) is Left.WAIT  # the lane is still to follow
    worker.complete(*worker.claim(10, mine))
    assert outlook_of(store, mine) is Left.NOTHING
