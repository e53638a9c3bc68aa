"""enqueue: whole or not at all; duplicates, what is known, what is asked for twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from databases import Database

from batchctl.errors import DuplicateBatch
from batchctl.model import BatchKind, Incoming
from batchctl.store import Store
from batchctl.transitions import loading
from store import kit
from store.kit import Worker, begin, keys, load, orders

Peek = Callable[..., list[tuple[Any, ...]]]


def file(path: str, sha256: str, position: int = 1) -> Incoming:
    return Incoming(path, position, "{}", path, file=json.dumps({"sha256": sha256}), sha256=sha256)


def stored(peek: Peek, no: int) -> list[tuple[Any, ...]]:
    return peek(
        "SELECT key, position, payload FROM items JOIN item_data ON item_id = id WHERE batch_no = ? ORDER BY id", no
    )


def nothing_remains(peek: Peek) -> bool:
    return not any(peek(f"SELECT 1 FROM {table}") for table in ("batches", "items", "item_data", "ready_groups"))  # noqa: S608 - names from here


# -- whole or not at all


def test_nobody_sees_a_batch_before_it_is_whole(store: Store, worker: Worker) -> None:
    act = begin(store)
    act.add(orders(3))
    assert worker.claim(10) == []
    assert store.engine.now()
    act.finish("content", again=True)
    assert keys(worker.claim(10)) == ["k1", "k2", "k3"]


def test_items_stay_in_input_order_across_chunks(store: Store, worker: Worker) -> None:
    act = begin(store)
    for row in orders(["b", "a", "c"]):
        act.add([row])
    act.finish("content", again=True)
    assert keys(worker.claim(10)) == ["b", "a", "c"]


def test_of_an_aborted_load_nothing_remains(store: Store, peek: Peek) -> None:
    act = begin(store, split=2)
    act.add(orders(5))
    act.abort()
    assert nothing_remains(peek)


def test_an_empty_load_makes_no_batch(store: Store, peek: Peek) -> None:
    loaded = begin(store).finish("content", again=False)
    assert (loaded.batch_nos, loaded.existing, loaded.skipped_items) == ([], False, 0)
    assert nothing_remains(peek)


def test_recovery_deletes_the_load_of_a_dead_process(store: Store, peek: Peek) -> None:
    act = begin(store)
    act.add(orders(3))
    act._leave()  # what the kernel does when the process ends
    assert loading.abort_abandoned(store.engine) == 1
    assert nothing_remains(peek)


def test_recovery_leaves_the_load_of_a_living_process(store: Store, worker: Worker) -> None:
    act = begin(store)
    act.add(orders(3))
    assert loading.abort_abandoned(store.engine) == 0
    act.finish("content", again=True)
    assert len(worker.claim(10)) == 3


def test_recovery_goes_on_with_a_deletion_that_was_cut_short(store: Store, peek: Peek) -> None:
    act = begin(store)
    act.add(orders(3))
    act._leave()
    with store.engine.write() as tx:
        tx.run("begin_delete", {"no": 1, "now": kit.START})
    loading.abort_abandoned(store.engine)
    assert nothing_remains(peek)


def test_a_load_that_is_published_while_recovery_looks_is_not_deleted(
    store: Store, database: Database, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery has read `loading`, then the loader publishes and leaves, then recovery finds it gone."""
    act = begin(store)
    act.add(orders(3))
    other = database.open()

    def alive(name: str) -> bool:
        act.finish("content", again=True)
        return store.engine.alive(name)

    monkeypatch.setattr(other.engine, "alive", alive)
    loading.abort_abandoned(other.engine)
    other.close()
    assert keys(worker.claim(10)) == ["k1", "k2", "k3"]


# -- keys that stand twice


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("split", [None, 2])
@pytest.mark.parametrize("skip_known", [False, True])
def test_a_key_that_stands_twice_is_refused_with_its_first_place(
    store: Store, chunk: int, split: int | None, skip_known: bool
) -> None:
    act = begin(store, split=split, skip_known=skip_known)
    rows = orders(["a", "b", "a", "c", "b"])
    twins = [twin for at in range(0, 5, chunk) for twin in act.add(rows[at : at + chunk])]
    assert [(twin.where, twin.key, twin.first_position) for twin in twins] == [
        ("orders.csv:3", "a", 1),
        ("orders.csv:5", "b", 2),
    ]


def test_keys_that_stand_twice_are_told_in_input_order_whatever_part_has_the_first(store: Store) -> None:
    act = begin(store, split=3)
    twins = act.add(orders(["a", "b", "c", "d", "d", "a"]))
    assert [(twin.where, twin.first_position) for twin in twins] == [("orders.csv:5", 4), ("orders.csv:6", 1)]


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("split", [None, 2])
@pytest.mark.parametrize(("on_duplicate", "wins"), [("skip", 0), ("last", 2)])
def test_on_duplicate_keeps_the_first_row_or_the_last_data(
    store: Store, peek: Peek, chunk: int, split: int | None, on_duplicate: str, wins: int
) -> None:
    rows = [Incoming(key, n, f'{{"n": {n}}}', f"orders.csv:{n}") for n, key in enumerate(["a", "b", "a"], 1)]
    act = begin(store, split=split, on_duplicate=on_duplicate)
    for at in range(0, 3, chunk):
        assert act.add(rows[at : at + chunk]) == []
    loaded = act.finish("content", again=True)
    assert loaded.skipped_items == 1
    found = [row for no in loaded.batch_nos for row in stored(peek, no)]
    assert found == [("a", 1, f'{{"n": {wins + 1}}}'), ("b", 2, '{"n": 2}')]


def test_every_item_has_its_own_random_idempotency_key(store: Store, peek: Peek) -> None:
    load(store, 50)
    found = [key for (key,) in peek("SELECT idempotency_key FROM item_data")]
    assert len(set(found)) == 50
    assert {len(key) for key in found} == {32}


def test_item_numbers_are_never_used_again(store: Store, worker: Worker) -> None:
    act = begin(store)
    act.add(orders(3))
    act.abort()
    load(store, 1)
    assert worker.claim()[0].number == 4


# -- the same again


def test_unfinished_twins_are_refused_unless_again(store: Store, worker: Worker) -> None:
    load(store, 1, content="same")
    with pytest.raises(DuplicateBatch, match="not finished yet") as refused:
        load(store, 1, content="same", again=False)
    assert "--again" in str(refused.value.hint)
    load(store, 1, content="same", again=False, processor="q")
    load(store, 1, content="same", again=False, organization="acme")
    load(store, 1, content="same", again=True)
    worker.complete(*worker.claim(10))
    load(store, 1, content="same", again=False)


def test_a_refused_load_leaves_nothing_behind(store: Store, peek: Peek) -> None:
    load(store, 1, content="same")
    with pytest.raises(DuplicateBatch):
        load(store, 1, content="same", again=False)
    assert peek("SELECT count(*) FROM items") == [(1,)]
    assert peek("SELECT count(*) FROM batches") == [(1,)]


def test_an_idempotency_key_answers_with_its_batch_even_when_that_is_finished(store: Store, worker: Worker) -> None:
    first = load(store, 2, content="same", idempotency_key="K")
    worker.complete(*worker.claim(10))
    act = begin(store, idempotency_key="K")
    act.add(orders(2))
    loaded = act.finish("same", again=False)
    assert (loaded.batch_nos, loaded.existing) == (first, True)
    assert worker.claim(10) == []


def test_an_idempotency_key_is_refused_for_other_content_and_free_elsewhere(store: Store) -> None:
    load(store, 1, content="one", idempotency_key="K")
    with pytest.raises(DuplicateBatch, match="differs in content"):
        load(store, 1, content="two", idempotency_key="K")
    load(store, 1, content="two", idempotency_key="K", organization="acme")


def test_an_idempotency_key_answers_with_all_batches_of_a_split_and_no_others(store: Store) -> None:
    options = {"split": 2}
    load(store, 5, content="other", options=options, name="monthly")
    first = load(store, 5, content="same", options=options, name="monthly", idempotency_key="K")
    load(store, 5, content="other", options=options, name="monthly", organization="acme")
    assert len(first) == 3
    assert load(store, 5, content="same", options=options, name="monthly", idempotency_key="K") == first


def test_an_idempotency_key_answers_where_skip_known_leaves_nothing(store: Store) -> None:
    first = load(store, 2, content="same", idempotency_key="K", options={"skip_known": True})
    act = begin(store, idempotency_key="K", skip_known=True)
    act.add(orders(2))
    loaded = act.finish("same", again=False)
    assert (loaded.batch_nos, loaded.existing) == (first, True)


# -- --skip-known


def again(store: Store, *rows: Incoming, **new: Any) -> tuple[int, int]:
    """(batches made, items skipped) of an enqueue with --skip-known."""
    act = begin(store, skip_known=True, **new)
    act.add(rows or orders(2))
    loaded = act.finish("content", again=False)
    return len(loaded.batch_nos), loaded.skipped_items


def test_skip_known_leaves_out_what_waits_runs_or_is_done(store: Store, worker: Worker) -> None:
    load(store, 2)
    assert again(store) == (0, 2)
    items = worker.claim(10)
    assert again(store) == (0, 2)
    worker.complete(items[0])
    worker.put_off(items[1], until=kit.START + 60_000)
    assert again(store) == (0, 2)


def test_skip_known_takes_failed_and_cancelled_ones_again(store: Store, worker: Worker) -> None:
    load(store, 3)
    one, two, _ = worker.claim(10)
    worker.fail(one)
    worker.give_back(two)
    store.cancel_items([two.number], None)
    assert again(store, *orders(3)) == (1, 1)
    assert keys(worker.claim(10)) == ["k1", "k2"]


def test_skip_known_goes_by_processor_and_organization(store: Store) -> None:
    load(store, 2)
    assert again(store, organization="acme") == (1, 0)
    assert again(store, processor="q") == (1, 0)


def test_skip_known_knows_files_by_content(store: Store) -> None:
    act = begin(store, kind=BatchKind.FILES, skip_known=True)
    act.add([file("a.pdf", "11"), file("b.pdf", "22", 2), file("copy of a.pdf", "11", 3)])
    assert act.finish("content", again=False).skipped_items == 1
    assert again(store, file("renamed.pdf", "22"), kind=BatchKind.FILES) == (0, 1)
    assert again(store, file("a.pdf", "33"), kind=BatchKind.FILES) == (1, 0)


def test_skip_known_knows_orders_without_a_key_by_content(store: Store) -> None:
    row = Incoming("1", 1, '{"sku": "A"}', "orders.csv:2", explicit_key=False)
    other = Incoming("1", 1, '{"sku": "B"}', "orders.csv:2", explicit_key=False)
    load(store, [row])
    assert again(store, other) == (1, 0)
    assert again(store, row) == (0, 1)


def test_row_numbers_of_a_load_that_is_under_way_are_not_remembered_as_keys(store: Store, database: Database) -> None:
    act = begin(store)
    act.add([Incoming("1", 1, '{"sku": "A"}', "orders.csv:2", explicit_key=False)])
    other = database.open()
    again(other, *orders(["x"]))  # the processor begins to remember while the load is open
    other.close()
    act.finish("content", again=True)
    assert again(store, *orders(["1"])) == (1, 0)


def test_what_failed_when_remembering_began_is_known_once_it_is_retried(store: Store, worker: Worker) -> None:
    no = load(store, ["k1"])[0]
    worker.fail(*worker.claim())
    again(store, *orders(["other"]))
    store.retry(no, None)
    worker.complete(*worker.claim(10))
    assert again(store, *orders(["k1"])) == (0, 1)


def test_a_load_that_was_given_up_makes_nobody_forget(store: Store, worker: Worker) -> None:
    again(store)
    worker.complete(*worker.claim(10))
    act = begin(store)
    act.add(orders(2))
    act.abort()
    assert again(store) == (0, 2)


def test_what_one_of_several_enqueues_completed_stays_known(store: Store, worker: Worker) -> None:
    again(store)
    worker.complete(*worker.claim(10))
    load(store, 2)
    worker.fail(*worker.claim(10))
    assert again(store) == (0, 2)


def test_given_up_loads_do_not_pile_up_in_the_memory(store: Store, peek: Peek) -> None:
    again(store)
    for _ in range(5):
        act = begin(store)
        act.add(orders(2))
        act.abort()
    assert peek("SELECT count(*) FROM seen")[0][0] <= 4


def test_the_same_content_is_taken_where_skip_known_finds_a_failed_item(store: Store, worker: Worker) -> None:
    """The batch is unfinished and has the same content; without --skip-known it would be refused."""
    load(store, 2, content="content")
    worker.fail(worker.claim()[0])
    assert again(store) == (1, 1)


def test_two_enqueues_at_once_with_skip_known_bring_each_thing_once(
    store: Store, database: Database, worker: Worker
) -> None:
    """What cron does when the folder is large: the second scan begins before the first has ended."""
    other = database.open()
    slow, fast = begin(store, skip_known=True), begin(other, skip_known=True)
    slow.add(orders(["a", "b", "c"]))
    fast.add(orders(["b", "c", "d"]))
    assert len(fast.finish("one", again=False).batch_nos) == 1
    loaded = slow.finish("two", again=False)
    other.close()
    assert loaded.skipped_items == 2
    assert sorted(keys(worker.claim(10))) == ["a", "b", "c", "d"]


def test_the_slower_of_two_equal_enqueues_makes_no_batch(store: Store, database: Database, peek: Peek) -> None:
    other = database.open()
    slow, fast = begin(store, skip_known=True), begin(other, skip_known=True)
    slow.add(orders(3))
    fast.add(orders(3))
    fast.finish("one", again=False)
    loaded = slow.finish("one", again=False)
    other.close()
    assert (loaded.batch_nos, loaded.skipped_items) == ([], 3)
    assert peek("SELECT count(*) FROM batches") == [(1,)]
