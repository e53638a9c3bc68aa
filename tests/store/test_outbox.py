"""The outbox: written in the commit of a batch's end, once a run and target; claimed by one; kept, sent or given up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from batchctl.announce import Alert, BatchEnd, FailureGroup, Notice
from batchctl.engines.base import Engine
from batchctl.store import Store
from batchctl.transitions import outbox
from batchctl.transitions.outbox import CLAIMED, KEPT, Claimed, Sent, announce_alert
from store.kit import Clock, Worker, load

Peek = Callable[..., list[tuple[Any, ...]]]
MINUTE = 60_000


class Announcer:
    """Tells its targets of everything, and keeps the facts that it was given."""

    def __init__(self, *targets: str, events: frozenset[str] | None = None) -> None:
        self.targets = targets
        self.events = events
        self.ends: list[BatchEnd] = []

    def wants(self, event: str, processor: str | None, organization: str | None) -> bool:  # noqa: ARG002 - the protocol's
        return self.events is None or event in self.events

    def batch_ended(self, end: BatchEnd) -> Sequence[Notice]:
        self.ends.append(end)
        return [Notice(target, json.dumps({"subject": end.event}).encode()) for target in self.targets]

    def alert(self, alert: Alert, *, but: str | None = None) -> Sequence[Notice]:
        return [Notice(target, alert.message.encode()) for target in self.targets if target != but]


@pytest.fixture
def announcer(engine: Engine) -> Announcer:
    found = Announcer("mail", "chat")
    engine.announce_with(found)
    return found


def end_batch(store: Store, worker: Worker, items: int = 1, **more: Any) -> int:
    """Load a batch and complete it."""
    (no,) = load(store, items, **more)
    worker.complete(*worker.claim(items))
    return no


def claim(store: Store, sender: str = "n1", targets: Sequence[str] = ("mail", "chat"), **more: Any) -> list[Claimed]:
    bounds = {"limit": 16, "each": 16} | more
    with store.engine.write() as tx:
        return outbox.claim(tx, sender, targets, store.engine.now(), **bounds)


def record(store: Store, *ended: Sent, sender: str = "n1") -> list[Sent]:
    with store.engine.write() as tx:
        return outbox.record(tx, sender, ended, store.engine.now())


def states(peek: Peek) -> list[tuple[str, str]]:
    return [(target, state) for target, state in peek("SELECT target, state FROM outbox ORDER BY id")]


def test_the_end_of_a_batch_and_the_messages_about_it_are_one_commit(
    store: Store, worker: Worker, announcer: Announcer, peek: Peek, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(store, 2)
    first, second = worker.claim(2)
    worker.complete(first)
    assert peek("SELECT count(*) FROM outbox") == [(0,)]

    def broken(end: BatchEnd) -> Sequence[Notice]:
        raise RuntimeError(end.event)

    with monkeypatch.context() as patch:
        patch.setattr(announcer, "batch_ended", broken)
        with pytest.raises(RuntimeError):
            worker.complete(second)
    assert peek("SELECT status FROM batches") == [("processing",)]
    worker.complete(second)
    assert peek("SELECT status FROM batches") == [("completed",)]
    assert states(peek) == [("mail", "due"), ("chat", "due")]


def test_the_facts_of_an_end(store: Store, worker: Worker, announcer: Announcer, clock: Clock) -> None:
    load(store, 3, name="june", user="jo", organization="acme")
    clock.advance(5_000)
    items = worker.claim(3)
    clock.advance(60_000)
    worker.complete(items[0])
    worker.fail(*items[1:], message="no such customer 7")
    (end,) = announcer.ends
    assert (end.event, end.name, end.user, end.organization) == ("completed_with_errors", "june", "jo", "acme")
    assert (end.total, end.completed, end.failed, end.cancelled, end.run_no) == (3, 1, 2, 0, 1)
    assert end.at - end.begun_at == 60_000
    assert (end.failures, end.looked_at) == (
        (FailureGroup(2, items[1].key, "NotFound", "no such customer 7"),),
        2,
    )


def test_the_most_frequent_errors_of_an_end(store: Store, worker: Worker, announcer: Announcer) -> None:
    load(store, 8)
    items = worker.claim(8)
    for item, message in zip(items, ["a", "b", "c 1", "c 2", "c 3", "d x", "d x", "b"], strict=True):
        worker.fail(item, message=message)
    (end,) = announcer.ends
    assert [(one.count, one.key, one.message) for one in end.failures] == [
        (3, items[2].key, "c 1"),
        (2, items[1].key, "b"),
        (2, items[5].key, "d x"),
    ]


def test_a_retry_is_another_run_with_its_own_message_and_duration(
    store: Store, worker: Worker, announcer: Announcer, clock: Clock, peek: Peek
) -> None:
    (no,) = load(store, 1)
    worker.fail(*worker.claim(1))
    clock.advance(3_600_000)
    store.retry(no, "jo")
    clock.advance(7_000)
    worker.complete(*worker.claim(1))
    assert [(end.event, end.run_no, end.at - end.begun_at) for end in announcer.ends][1] == ("completed", 2, 7_000)
    assert peek("SELECT run_no, event FROM outbox WHERE target = 'mail' ORDER BY id") == [
        (1, "failed"),
        (2, "completed"),
    ]


def test_cancel_announces_once(store: Store, announcer: Announcer, peek: Peek) -> None:
    (no,) = load(store, 3)
    store.cancel_batch(no, "jo")
    store.cancel_batch(no, "jo")
    assert [end.event for end in announcer.ends] == ["cancelled"]
    assert len(states(peek)) == 2


def test_without_an_announcer_or_a_wish_nothing_is_written(store: Store, worker: Worker, peek: Peek) -> None:
    end_batch(store, worker)
    silent = Announcer("mail", events=frozenset({"failed"}))
    store.engine.announce_with(silent)
    end_batch(store, worker)
    assert states(peek) == []
    assert silent.ends == []


@pytest.mark.usefixtures("announcer")
def test_one_claims_what_is_due(store: Store, worker: Worker, clock: Clock) -> None:
    end_batch(store, worker)
    first = claim(store, limit=1)
    assert [(one.target, one.event, one.attempts) for one in first] == [("mail", "completed", 1)]
    assert [one.target for one in claim(store, "n2")] == ["chat"]
    assert claim(store, "n3") == []
    record(store, Sent(first[0], "down", clock() + MINUTE))
    assert claim(store) == []
    clock.advance(MINUTE)
    assert [(one.id, one.attempts) for one in claim(store)] == [(first[0].id, 2)]


@pytest.mark.usefixtures("announcer")
def test_a_target_with_much_to_send_leaves_room_for_others(store: Store, worker: Worker) -> None:
    for _ in range(5):
        end_batch(store, worker)
    assert [one.target for one in claim(store, each=2, limit=3)].count("mail") in (1, 2)
    assert [one.target for one in claim(store, targets=["chat"], each=2, limit=16)] == ["chat", "chat"]


@pytest.mark.usefixtures("announcer")
def test_targets_that_are_not_known_here_stay(store: Store, worker: Worker, peek: Peek) -> None:
    end_batch(store, worker)
    with store.engine.read() as tx:
        assert outbox.due(tx, ["mail"], store.engine.now())
        assert not outbox.due(tx, ["other"], store.engine.now())
    assert claim(store, targets=["other"]) == []
    assert [one.target for one in claim(store, targets=["mail"])] == ["mail"]
    assert states(peek) == [("mail", "sending"), ("chat", "due")]


@pytest.mark.usefixtures("announcer")
def test_who_lost_its_claim_changes_nothing(store: Store, worker: Worker, peek: Peek, clock: Clock) -> None:
    end_batch(store, worker)
    lost = claim(store, "n1")
    with store.engine.write() as tx:
        assert outbox.senders(tx) == [("n1", clock() + CLAIMED)]
        assert outbox.release(tx, "n1", clock()) == 2
    again = claim(store, "n2")
    assert [one.id for one in again] == [one.id for one in lost]
    record(store, *[Sent(one) for one in lost], sender="n1")
    assert states(peek) == [("mail", "sending"), ("chat", "sending")]
    record(store, *[Sent(one) for one in again], sender="n2")
    assert states(peek) == [("mail", "sent"), ("chat", "sent")]
    assert peek("SELECT count(*) FROM events WHERE event = 'notified'") == [(2,)]


@pytest.mark.usefixtures("announcer")
def test_what_would_be_tried_after_23_hours_is_dead_and_the_others_are_told(
    store: Store, worker: Worker, peek: Peek, clock: Clock
) -> None:
    end_batch(store, worker)
    mail, _ = claim(store)
    clock.advance(KEPT - MINUTE)
    dead = record(store, Sent(mail, "still down", clock() + 2 * MINUTE))
    assert [one.notice.id for one in dead] == [mail.id]
    assert peek("SELECT state, error FROM outbox WHERE id = ?", mail.id) == [("dead", "still down")]
    told = peek("SELECT target, message FROM outbox WHERE event = 'alert'")
    assert [target for target, _ in told] == ["chat"]
    assert b"still down" in bytes(told[0][1])
    assert peek("SELECT count(*) FROM events WHERE event = 'notification_dead'") == [(1,)]


@pytest.mark.usefixtures("announcer")
def test_what_nobody_could_send_for_23_hours_is_dead(store: Store, worker: Worker, peek: Peek, clock: Clock) -> None:
    end_batch(store, worker)
    clock.advance(KEPT - 1)
    with store.engine.write() as tx:
        assert not outbox.any_expired(tx, clock())
        assert outbox.expire(tx, clock()) == []
    clock.advance(1)
    with store.engine.write() as tx:
        assert outbox.any_expired(tx, clock())
        assert [one.notice.target for one in outbox.expire(tx, clock())] == ["mail", "chat"]
    assert states(peek)[:2] == [("mail", "dead"), ("chat", "dead")]


def test_a_lost_alert_is_told_by_no_other(store: Store, announcer: Announcer, peek: Peek, clock: Clock) -> None:
    with store.engine.write() as tx:
        announce_alert(tx, Alert("queue_depth", "much waits"), clock())
    alert = claim(store, targets=["mail"])
    assert record(store, Sent(alert[0], "no such address"))
    assert len(announcer.targets) == 2
    assert states(peek) == [("mail", "dead"), ("chat", "due")]


@pytest.mark.usefixtures("announcer")
def test_sent_again_it_has_fresh_tries_and_another_23_hours(
    store: Store, worker: Worker, peek: Peek, clock: Clock
) -> None:
    end_batch(store, worker)
    (mail,) = claim(store, targets=["mail"])
    record(store, Sent(mail, "refused"))
    clock.advance(100 * MINUTE)
    with store.engine.write() as tx:
        assert outbox.send_again(tx, [mail.id], clock()) == 1
    assert peek("SELECT state, attempts, expires_at FROM outbox WHERE id = ?", mail.id) == [("due", 0, clock() + KEPT)]
    (again,) = claim(store, targets=["mail"])
    record(store, Sent(again))
    with store.engine.write() as tx:
        assert outbox.send_again(tx, [mail.id], clock()) == 0


@pytest.mark.usefixtures("announcer")
def test_a_target_that_is_down_is_left_alone_for_a_while(store: Store, worker: Worker, clock: Clock) -> None:
    end_batch(store, worker)
    end_batch(store, worker)
    with store.engine.write() as tx:
        outbox.postpone(tx, "mail", clock() + MINUTE)
    assert [one.target for one in claim(store)] == ["chat", "chat"]
    clock.advance(MINUTE)
    assert [one.target for one in claim(store)] == ["mail", "mail"]


@pytest.mark.usefixtures("announcer")
def test_a_clock_that_was_set_back_keeps_no_message_waiting(store: Store, worker: Worker, clock: Clock) -> None:
    end_batch(store, worker)
    clock.advance(-3_600_000)
    (mail,) = claim(store, targets=["mail"])
    record(store, Sent(mail, "down", clock() + MINUTE))
    assert claim(store, targets=["mail"]) == []  # its pause counts by the clock as it is now
    clock.advance(MINUTE)
    assert [one.id for one in claim(store, targets=["mail"])] == [mail.id]
