"""pause, resume, set: gates open and shut, items stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchctl.model import ItemError
from batchctl.store import EVERYTHING, Store
from batchctl.transitions.processors import break_processor, mend_changed
from store import kit
from store.kit import Clock, Worker, keys, load

Peek = Callable[..., list[tuple[Any, ...]]]


class Definition:
    def __init__(self, fingerprint: str, *problems: str) -> None:
        self.fingerprint, self.problems = fingerprint, problems


def control_number(peek: Peek) -> int:
    return int(peek("SELECT number FROM control")[0][0])


def test_a_paused_batch_is_not_claimed_until_it_is_resumed(store: Store, worker: Worker) -> None:
    no, other = load(store, 1)[0], load(store, ["other"])[0]
    assert store.pause([no], None, "ann") == 1
    assert keys(worker.claim(5)) == ["other"]
    assert store.resume([no, other], "ann") == 1
    assert keys(worker.claim(5)) == ["k1"]


def test_what_runs_may_finish_under_a_pause(store: Store, worker: Worker, peek: Peek) -> None:
    no = load(store, 1)[0]
    (one,) = worker.claim()
    store.pause([no], None, "ann")
    worker.complete(one)
    assert peek("SELECT status FROM batches") == [("completed",)]


def test_a_pause_ends_at_its_time(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    no = load(store, 1)[0]
    store.pause([no], clock.ms + 1_000, "ann")
    assert worker.claim() == []
    clock.advance(1_000)
    assert len(worker.claim()) == 1
    assert peek("SELECT paused, paused_until FROM batches") == [(0, None)]


def test_a_finished_batch_is_not_paused_and_its_pause_can_be_taken_back(store: Store, peek: Peek) -> None:
    no = load(store, 1)[0]
    store.pause([no], None, "ann")
    store.cancel_batch(no, "ann")
    assert store.resume([no], "ann") == 1
    assert peek("SELECT count(*) FROM ready_groups") == [(0,)]
    assert store.pause([no], None, "ann") == 0


@pytest.mark.parametrize("name", ["p", EVERYTHING])
def test_a_paused_processor_and_everything_paused(store: Store, name: str, clock: Clock) -> None:
    both = Worker(store, "w", kit.scope("p", "q"))
    load(store, ["a"])
    load(store, ["b"], processor="q")
    store.pause_processor(name, clock.ms + 1_000, "ann")
    assert keys(both.claim(5)) == ([] if name == EVERYTHING else ["b"])
    clock.advance(1_000)
    assert "a" in keys(both.claim(5))


def test_resume_everything_resumes_batches_and_processors(store: Store) -> None:
    both = Worker(store, "w", kit.scope("p", "q"))
    no = load(store, ["a"])[0]
    load(store, ["b"], processor="q")
    store.pause([no], None, "ann")
    store.pause_processor("q", None, "ann")
    store.pause_processor(EVERYTHING, None, "ann")
    assert both.claim(5) == []
    assert store.resume_processor(EVERYTHING, "ann") is True
    assert keys(both.claim(5)) == ["a", "b"]


def test_a_broken_processor_waits_for_another_config_or_a_person(store: Store, worker: Worker) -> None:
    load(store, 2)
    for mend in ("config", "person"):
        with store.engine.write() as tx:
            break_processor(tx, "p", ItemError("Unauthorized", "401"), "old", kit.START)
        assert worker.claim() == []
        with store.engine.write() as tx:
            mend_changed(tx, {"p": Definition("old")}, kit.START, mark_problems=True)
            mend_changed(tx, {"p": Definition("new", "TOKEN is missing")}, kit.START, mark_problems=True)
            mend_changed(tx, {"q": Definition("new")}, kit.START, mark_problems=True)
        assert worker.claim() == []
        if mend == "config":
            with store.engine.write() as tx:
                mend_changed(tx, {"p": Definition("new")}, kit.START, mark_problems=True)
        else:
            assert store.resume_processor("p", "ann") is True
        assert len(worker.claim()) == 1


def test_a_processor_with_problems_is_shut_until_they_are_gone(store: Store, worker: Worker, peek: Peek) -> None:
    load(store, 1)
    with store.engine.write() as tx:
        mend_changed(tx, {"p": Definition("x", "TOKEN is missing")}, kit.START, mark_problems=True)
    assert worker.claim() == []
    assert peek("SELECT broken_type, broken_message FROM processors") == [("NotConfigured", "TOKEN is missing")]
    with store.engine.write() as tx:
        mend_changed(tx, {"p": Definition("y")}, kit.START, mark_problems=True)
    assert len(worker.claim()) == 1


def test_set_changes_what_is_given_and_leaves_the_rest(store: Store, peek: Peek) -> None:
    no = load(store, 1, name="monthly", priority=kit.LOW, not_before=5)[0]
    store.alter(no, "ann", priority=kit.HIGH)
    assert peek("SELECT priority, name, not_before FROM batches") == [(0, "monthly", 5)]
    store.alter(no, "ann", name="weekly", not_before=None)
    assert peek("SELECT priority, name, not_before FROM batches") == [(0, "weekly", None)]


def test_a_new_priority_holds_at_once(store: Store, worker: Worker) -> None:
    load(store, ["first"])
    no = load(store, ["second"])[0]
    store.alter(no, "ann", priority=kit.HIGH)
    assert keys(worker.claim(5)) == ["second", "first"]


def test_not_before_shuts_and_opens(store: Store, worker: Worker, clock: Clock) -> None:
    no = load(store, 1)[0]
    store.alter(no, "ann", not_before=clock.ms + 1_000)
    assert worker.claim() == []
    store.alter(no, "ann", not_before=None)
    assert len(worker.claim()) == 1


def test_every_act_tells_the_workers_to_look(store: Store, peek: Peek) -> None:
    no = load(store, 1)[0]
    acts: list[Callable[[], object]] = [
        lambda: store.pause([no], None, "ann"),
        lambda: store.resume([no], "ann"),
        lambda: store.pause_processor("p", None, "ann"),
        lambda: store.resume_processor("p", "ann"),
        lambda: store.alter(no, "ann", priority=kit.LOW),
        lambda: store.cancel_items([1], "ann"),
        lambda: store.retry(no, "ann", states={"cancelled"}),
        lambda: store.cancel_batch(no, "ann"),
    ]
    for act in acts:
        before = control_number(peek)
        act()
        assert control_number(peek) > before


def test_the_trail_names_who_did_what(store: Store, peek: Peek) -> None:
    no = load(store, 2, user="bob", organization="acme")[0]
    store.pause([no], None, "ann")
    store.resume([no], "ann")
    store.cancel_batch(no, "eve")
    assert peek("SELECT event, actor, organization FROM events WHERE batch_no = ? ORDER BY id", no) == [
        ("enqueued", "bob", "acme"),
        ("paused", "ann", "acme"),
        ("resumed", "ann", "acme"),
        ("cancel", "eve", "acme"),
        ("cancelled", None, "acme"),
    ]
