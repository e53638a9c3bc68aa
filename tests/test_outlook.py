"""What a worker that found nothing should do: wait, leave it to others, or go home. Asked of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from store.kit import START, Worker, load, scope

from batchctl import outlook
from batchctl.model import ItemError
from batchctl.outlook import Left
from batchctl.store import EVERYTHING, Scope, Store
from batchctl.transitions.processors import break_processor


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(str(tmp_path / "queue.db"), create=True)
    yield store
    store.close()


def ask(store: Store, of: Scope | None = None) -> Left:
    with store.engine.read() as tx:
        return outlook.judge(outlook.facts(tx), of or scope("p"))


def later(store: Store) -> int:
    return store.engine.now() + 60_000


def test_nothing_is_left(store: Store) -> None:
    assert ask(store) is Left.NOTHING
    load(store, 1)
    worker = Worker(store, "w", scope("p"))
    worker.complete(*worker.claim())
    assert ask(store) is Left.NOTHING


def test_pending_running_and_waiting_items_are_waited_for(store: Store) -> None:
    load(store, 1)
    worker = Worker(store, "w", scope("p"))
    assert ask(store) is Left.WAIT
    (item,) = worker.claim()
    assert ask(store) is Left.WAIT
    worker.put_off(item, until=later(store))
    assert ask(store) is Left.WAIT


@pytest.mark.parametrize("gate", ["batch", "timed", "schedule", "processor", "everything", "broken"])
def test_what_waits_for_a_person_or_a_time_is_held(store: Store, gate: str) -> None:
    no = load(store, 2, not_before=later(store) if gate == "schedule" else None)[0]
    match gate:
        case "batch":
            store.pause([no], None, "ann")
        case "timed":
            store.pause([no], later(store), "ann")
        case "processor":
            store.pause_processor("p", None, "ann")
        case "everything":
            store.pause_processor(EVERYTHING, None, "ann")
        case "broken":
            with store.engine.write() as tx:
                break_processor(tx, "p", ItemError("Unauthorized", "401"), "config", START)
    assert ask(store) is Left.HELD


def test_what_runs_under_a_shut_gate_is_waited_for(store: Store) -> None:
    no = load(store, 2)[0]
    Worker(store, "w", scope("p")).claim()
    store.pause([no], None, "ann")
    assert ask(store) is Left.WAIT


def test_one_batch_that_may_run_outweighs_those_that_are_held(store: Store) -> None:
    store.pause(load(store, 1), None, "ann")
    assert ask(store) is Left.HELD
    load(store, 1)
    assert ask(store) is Left.WAIT


def test_work_of_processors_that_nobody_here_knows_is_held(store: Store) -> None:
    load(store, 1, processor="q")
    assert ask(store) is Left.HELD
    assert ask(store, scope("p", "q")) is Left.WAIT


def test_inline_batches_bring_their_processor(store: Store) -> None:
    load(store, 1, processor="inline:echo", definition="{}")
    assert ask(store, scope()) is Left.WAIT
    assert ask(store, scope("p", processor="p")) is Left.NOTHING


def test_only_what_the_scope_covers_concerns_us(store: Store) -> None:
    no = load(store, 3, organization="acme")[0]
    load(store, 2)
    for of, count in (
        (scope("p", organization="acme"), 3),
        (scope("p", organization="other"), 0),
        (scope("p", batch_nos=(no,)), 3),
        (scope("p"), 5),
        (scope("q", processor="q"), 0),
    ):
        with store.engine.read() as tx:
            facts = outlook.facts(tx)
        assert outlook.left(facts, of) == count
        assert (outlook.judge(facts, of) is Left.NOTHING) == (count == 0)


def test_an_interrupted_act_is_waited_for(store: Store) -> None:
    no = load(store, 1)[0]
    with store.engine.write() as tx:
        tx.one("begin_cancel", {"no": no, "now": START, "loader": "lgone"})
        tx.run("gate_cancel", {"no": no})
    assert ask(store) is Left.WAIT


def test_a_load_that_nobody_sees_concerns_nobody(store: Store) -> None:
    from store.kit import begin, orders

    act = begin(store)
    act.add(orders(2))
    assert ask(store) is Left.NOTHING
    act.abort()


def test_the_next_time_that_something_is_due(store: Store) -> None:
    with store.engine.read() as tx:
        assert outlook.facts(tx).next_due is None
    load(store, 1)
    worker = Worker(store, "w", scope("p"))
    first, second = later(store), later(store) + 60_000
    worker.put_off(*worker.claim(), until=second)
    load(store, 1, not_before=first)
    with store.engine.read() as tx:
        assert outlook.facts(tx).next_due == first
