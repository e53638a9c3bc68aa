"""claim: the contract's order, gates, limits, turns."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from batchctl.model import Item
from batchctl.store import Store
from batchctl.transitions import promoting
from store import kit
from store.kit import Clock, Worker, keys, load, numbers


def organizations(items: Iterable[Item]) -> list[str | None]:
    return [item.batch.organization for item in items]


# -- order


def test_priority_then_the_older_batch_then_input_order(store: Store, worker: Worker) -> None:
    load(store, ["low"], priority=kit.LOW)
    load(store, ["b", "a"])
    load(store, ["c"])
    load(store, ["high"], priority=kit.HIGH)
    assert keys(worker.claim(10)) == ["high", "b", "a", "c", "low"]


@pytest.mark.parametrize("names", [("p", "q"), ("q", "p")])
def test_the_older_batch_goes_first_whatever_its_processor_is_called(store: Store, names: tuple[str, str]) -> None:
    both = Worker(store, "w", kit.scope("p", "q"))
    for n, name in enumerate(names * 2):
        load(store, [f"k{n}"], processor=name)
    assert keys(both.claim(3) + both.claim(3)) == ["k0", "k1", "k2", "k3"]


def test_a_retried_item_has_its_old_place(store: Store, worker: Worker) -> None:
    no = load(store, ["a", "b", "c"])[0]
    worker.fail(worker.claim()[0])
    store.retry(no, None)
    assert keys(worker.claim(10)) == ["a", "b", "c"]


def test_organizations_take_turns_of_ten(store: Store, worker: Worker) -> None:
    load(store, 100, organization="a")
    load(store, 15, organization="b")
    items = worker.claim(40)
    assert organizations(items) == ["a"] * 10 + ["b"] * 10 + ["a"] * 10 + ["b"] * 5 + ["a"] * 5


def test_turns_go_on_from_claim_to_claim(store: Store, worker: Worker) -> None:
    load(store, 100, organization="a")
    load(store, 100, organization="b")
    taken = [worker.claim(3) for _ in range(8)]
    assert [item[0].batch.organization for item in taken] == ["a", "b"] * 4


def test_turns_do_not_cross_priorities(store: Store, worker: Worker) -> None:
    load(store, 30, organization="a", priority=kit.HIGH)
    load(store, 30, organization="b")
    assert organizations(worker.claim(30)) == ["a"] * 30


def test_who_wakes_up_late_starts_at_the_current_turn(store: Store, worker: Worker) -> None:
    load(store, 300, organization="a")
    load(store, 300, organization="b")
    worker.claim(400)
    load(store, 300, organization="late")
    served = organizations(worker.claim(60))
    assert {name: served.count(name) for name in ("a", "b", "late")} == {"a": 20, "b": 20, "late": 20}


def test_who_worked_alone_owes_nobody(store: Store, worker: Worker) -> None:
    load(store, 1_000, organization="busy")
    worker.claim(900)
    load(store, 500, organization="new")
    served = organizations(worker.claim(60))
    assert abs(served.count("busy") - served.count("new")) <= 20


def test_who_could_not_run_for_long_gets_no_more_than_a_turn_ahead(store: Store) -> None:
    """An organization whose processor nobody ran must not hold back, nor push forward, the others."""
    both = Worker(store, "w", kit.scope("p", "q"))
    only_p = kit.scope("p")
    load(store, 300, organization="stuck", processor="q")
    load(store, 1_000, organization="a")
    both.claim(500, only_p)
    load(store, 500, organization="late")
    served = organizations(both.claim(100, only_p))
    assert abs(served.count("a") - served.count("late")) <= 20
    served = organizations(both.claim(90))
    assert max(served.count(name) for name in ("a", "late", "stuck")) <= 50


def test_one_organization_with_two_processors_has_one_turn(store: Store) -> None:
    both = Worker(store, "w", kit.scope("p", "q"))
    for name in ("p", "q"):
        load(store, 100, organization="a", processor=name)
    load(store, 100, organization="b")
    served = organizations(both.claim(60))
    assert abs(served.count("a") - served.count("b")) <= 10


def test_batches_that_were_named_take_turns_too(store: Store, worker: Worker) -> None:
    nos = load(store, 30, organization="a") + load(store, 30, organization="b")
    load(store, 30, organization="c")
    served = organizations(worker.claim(40, kit.scope("p", batch_nos=tuple(nos))))
    assert (served.count("a"), served.count("b")) == (20, 20)


def test_many_small_named_batches_are_claimed_in_order(store: Store, worker: Worker) -> None:
    nos = load(store, 40, options={"split": 1})
    items = worker.claim(30, kit.scope("p", batch_nos=tuple(reversed(nos))))
    assert numbers(items) == list(range(1, 31))


# -- what may be claimed


def test_only_what_the_scope_covers(store: Store, worker: Worker) -> None:
    load(store, ["p1"])
    no = load(store, ["p2"], organization="acme")[0]
    load(store, ["q1"], processor="q")
    load(store, ["i1"], processor="inline:echo", definition="{}")
    assert keys(worker.claim(9, kit.scope("q"))) == ["q1", "i1"]
    assert worker.claim(9, kit.scope("p", processor="p", batch_nos=(9,))) == []
    assert keys(worker.claim(9, kit.scope("p", organization="acme", batch_nos=(no,)))) == ["p2"]
    assert keys(worker.claim(9, kit.scope("p", processor="p"))) == ["p1"]


def test_a_processors_limit_holds_across_workers(store: Store, worker: Worker) -> None:
    load(store, 10)
    other, limited = Worker(store, "w2", worker.scope), kit.scope("p", limits={"p": 3})
    first = worker.claim(2, limited)
    assert len(other.claim(5, limited)) == 1
    assert other.claim(5, limited) == []
    worker.complete(first[0])
    assert len(other.claim(5, limited)) == 1


def test_a_claim_gives_what_the_item_is(store: Store, worker: Worker, clock: Clock) -> None:
    no = load(store, ["k"], name="monthly", organization="acme", user="ann")[0]
    item = worker.claim()[0]
    assert (item.number, item.key, item.position, item.payload) == (1, "k", 1, {"id": "k"})
    assert (item.claim_no, item.attempt, item.suspect, item.processor) == (1, 1, False, "p")
    batch = item.batch
    assert (batch.no, batch.name, batch.organization, batch.user) == (no, "monthly", "acme", "ann")
    assert (batch.total_items, batch.created_at) == (1, clock.ms)


def test_a_second_claim_raises_the_claim_number_and_keeps_the_idempotency_key(store: Store, worker: Worker) -> None:
    load(store, 1)
    first = worker.claim()[0]
    worker.give_back(first)
    second = worker.claim()[0]
    assert (second.claim_no, second.attempt) == (2, 1)
    assert second.idempotency_key == first.idempotency_key


def test_nothing_is_claimed_twice(store: Store, worker: Worker) -> None:
    load(store, 5)
    other = Worker(store, "w2", worker.scope)
    assert len({*numbers(worker.claim(3)), *numbers(other.claim(3))}) == 5


# -- what time opens


def test_a_retry_is_due_at_its_time_and_not_before(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, 1)
    worker.put_off(*worker.claim(), until=clock.ms + 5_000)
    clock.advance(4_999)
    assert worker.claim() == []
    clock.advance(1)
    assert worker.claim()[0].attempt == 2


def test_more_retries_than_one_claim_wakes_are_all_taken(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, 2_500)
    worker.put_off(*worker.claim(2_500), until=clock.ms)
    assert sum(len(worker.claim(2_500)) for _ in range(3)) == 2_500


def test_a_schedule_opens_by_itself(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, 1, not_before=clock.ms + 1_000)
    assert worker.claim() == []
    clock.advance(1_000)
    assert len(worker.claim()) == 1


def test_a_timed_pause_under_a_schedule_leaves_the_schedule(store: Store, worker: Worker, clock: Clock) -> None:
    no = load(store, 1, not_before=clock.ms + 10_000)[0]
    store.pause([no], clock.ms + 1_000, "ann")
    clock.advance(1_000)
    assert worker.claim() == []
    clock.advance(9_000)
    assert len(worker.claim()) == 1


def test_an_organization_that_was_empty_for_long_is_found_again(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, 1, organization="a")
    worker.put_off(*worker.claim(), until=clock.ms + 1_000)
    assert worker.claim() == []
    load(store, 20, organization="b")
    worker.claim(20)
    clock.advance(1_000)
    assert organizations(worker.claim(5)) == ["a"]


def test_more_schedules_than_one_claim_opens_are_all_opened(
    store: Store, worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promoting, "_DUE", 3)
    load(store, 8, options={"split": 1}, not_before=clock.ms + 1_000)
    clock.advance(1_000)
    assert [len(worker.claim(10)) for _ in range(4)] == [3, 3, 2, 0]
