"""How many batches a user or an organization may bring in, counted where they become real."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
from databases import Database

from batchctl.errors import DuplicateBatch, LimitReached
from batchctl.model import Quota
from batchctl.store import Store
from store.kit import Clock, load, new_batch, orders

HOUR = 3_600_000
MINE = Quota("batches_per_user", 2, 3600.0, "p", "ann")


def bring(store: Store, *quotas: Quota, items: int = 1, **more: Any) -> list[int]:
    options = {name: more.pop(name) for name in ("split", "skip_known") if name in more}
    return load(store, items, options=options, **({"user": "ann", "quotas": quotas or (MINE,)} | more))


def test_one_more_than_allowed_is_refused_until_the_oldest_is_old_enough(store: Store, clock: Clock) -> None:
    bring(store)
    clock.advance(HOUR // 2)
    bring(store)
    with pytest.raises(
        LimitReached, match=r"2 batches have come .*ann may enqueue 2 in any hour for p .*: try again at "
    ):
        bring(store)
    clock.advance(HOUR // 2)
    bring(store)
    with pytest.raises(LimitReached):
        bring(store)


def test_others_do_not_count(store: Store) -> None:
    for user, processor, organization in (("bob", "p", None), ("ann", "q", None), ("ann", "p", "acme")):
        quota = Quota("batches_per_user", 2, 3600.0, processor, user)
        for _ in range(2):
            bring(store, quota, user=user, processor=processor, organization=organization)
    bring(store)
    bring(store)
    with pytest.raises(LimitReached):
        bring(store)


def test_an_organization_counts_all_its_users_and_processors(store: Store) -> None:
    ours = Quota("batches_per_organization", 3, 60.0)
    for user, processor in (("ann", "p"), ("bob", "p"), ("ann", "q")):
        bring(store, ours, user=user, processor=processor, organization="acme")
    with pytest.raises(LimitReached, match=r"organization acme may enqueue 3 in any minute .batches_per_organization"):
        bring(store, ours, user="eve", organization="acme")
    bring(store, ours, user="eve", organization="bolt")


def test_every_part_of_a_split_counts_and_nothing_of_what_is_refused_remains(store: Store, peek: Any) -> None:
    bring(store)
    with pytest.raises(LimitReached, match="1 batch has come"):
        bring(store, items=4, split=2)
    with pytest.raises(LimitReached, match="3 batches, but ann may enqueue 2"):
        bring(store, items=6, split=2)
    assert peek("SELECT count(*) FROM batches") == [(1,)]
    assert peek("SELECT count(*) FROM items") == [(1,)]
    bring(store)


def test_who_is_over_the_limit_hears_it_before_anything_is_loaded(store: Store, peek: Any) -> None:
    bring(store)
    bring(store)
    loading = store.load(new_batch(user="ann", quotas=(MINE,)))
    with pytest.raises(LimitReached):
        loading.add(orders(1))
    loading.abort()
    assert peek("SELECT count(*) FROM batches") == [(2,)]


def test_what_exists_already_answers_and_costs_nothing(store: Store) -> None:
    first = bring(store, idempotency_key="k")
    bring(store)
    assert bring(store, idempotency_key="k") == first
    with pytest.raises(LimitReached):
        bring(store, idempotency_key="other")


def test_what_is_refused_for_other_reasons_costs_nothing(store: Store) -> None:
    bring(store)
    for _ in range(3):
        with pytest.raises(DuplicateBatch):
            bring(store, again=False)
    loading = store.load(new_batch(user="ann", quotas=(MINE,)))
    loading.add(orders(1))
    loading.abort()
    bring(store)


def test_a_cancelled_batch_still_counts(store: Store) -> None:
    for _ in range(2):
        store.cancel_batch(bring(store)[0], "ann")
    with pytest.raises(LimitReached):
        bring(store)


def test_what_is_known_needs_no_room(store: Store) -> None:
    bring(store, skip_known=True)
    bring(store)
    assert bring(store, skip_known=True) == []


def test_of_several_at_the_same_time_only_as_many_as_allowed_come_in(database: Database) -> None:
    outcomes: list[str] = []

    def one() -> None:
        store = database.open()
        try:
            bring(store)
            outcomes.append("in")
        except LimitReached:
            outcomes.append("refused")
        finally:
            store.close()

    database.open().close()
    threads = [Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] * 2 + ["refused"] * 4
