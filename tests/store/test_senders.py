"""Senders: nobody waits for somebody else's target, each message goes once, and a worker sends while it drains."""

from __future__ import annotations

import threading
import time

import pytest
from databases import Database
from servers import Answer, HttpServer, until

from batchctl.engines.base import Engine
from batchctl.notify import Courier, Sending, send_due, sender
from batchctl.store import Store
from store.kit import Clock
from store.sendkit import MINUTE, Office, hook

# -- nobody waits for somebody else's target


def test_a_slow_target_delays_no_other_and_is_given_up_in_time(
    office: Office, web: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "PATIENCE", 1.0)
    with HttpServer() as slow:
        slow.default = Answer(200, hold=True)
        office.tells(hook(slow, name="slow"), hook(web, name="good"))
        office.ends()
        done = office.send()
        assert (done.sent, done.failed) == (1, 1)
        assert "no answer within 1 s" in done.errors[0]


def test_what_is_due_to_a_target_that_is_down_is_not_all_tried(office: Office, web: HttpServer) -> None:
    web.default = Answer(503)
    office.tells(hook(web))
    for _ in range(12):
        office.ends()
    done = office.send()
    assert len(web.requests) == done.failed < 12
    web.default = Answer(200)
    office.clock.advance(3 * MINUTE)
    assert office.send().sent == 12


def test_after_the_deadline_nothing_more_is_begun(office: Office, web: HttpServer) -> None:
    office.tells(hook(web))
    office.ends()
    assert send_due(office.store, office.config, deadline=time.monotonic()) == Sending()
    assert web.requests == []
    assert office.states() == ["due"]


# -- several senders


def test_two_senders_at_once_send_once(office: Office, web: HttpServer, database: Database, clock: Clock) -> None:
    web.default = Answer(200, hold=True)
    office.tells(hook(web))
    office.ends()
    with_another = database.open()
    with_another.engine.now = clock  # type: ignore[method-assign]
    found: list[Sending] = []
    thread = threading.Thread(target=lambda: found.append(send_due(with_another, office.config)))
    thread.start()
    try:
        web.wait(1)
        assert office.send() == Sending()  # a living sender has it
        assert office.states() == ["sending"]
    finally:
        web.release()
        thread.join()
        with_another.close()
    assert found == [Sending(sent=1)]
    assert len(web.requests) == 1


def test_what_a_dead_sender_held_is_sent(office: Office, web: HttpServer, database: Database) -> None:
    office.tells(hook(web))
    office.ends()
    database.change("UPDATE outbox SET state = 'sending', worker_id = 'ngone', attempts = 1, claimed_until = 9e15")
    assert office.send().sent == 1
    assert office.rows()[0][2] == 2


def test_who_is_stuck_loses_its_claim(office: Office, web: HttpServer, engine: Engine, database: Database) -> None:
    office.tells(hook(web))
    office.ends()
    presence = engine.presence("nstuck")
    try:
        until_ms = office.clock() + 1
        database.change(
            f"UPDATE outbox SET state = 'sending', worker_id = 'nstuck', claimed_until = {until_ms:d}"  # noqa: S608 - a number
        )
        assert office.send() == Sending()
        office.clock.advance(1)
        assert office.send().sent == 1
    finally:
        presence.leave()


# -- while a worker drains


def test_a_courier_sends_meanwhile_and_once_more_at_its_end(
    office: Office, web: HttpServer, database: Database, clock: Clock
) -> None:
    def another() -> Store:
        store = database.open()
        store.engine.now = clock  # type: ignore[method-assign]
        return store

    office.tells(hook(web))
    with Courier(another, lambda: office.config) as courier:
        office.ends()
        web.wait(1)
        until(lambda: office.states() == ["sent"], "it is recorded")
        web.default = Answer(500)
        office.ends()
    assert office.states() == ["sent", "due"]
    assert (courier.total.sent, courier.total.failed) == (1, 1)
    assert "500" in courier.total.errors[0]


def test_a_courier_that_must_stop_begins_nothing_more(office: Office, web: HttpServer, database: Database) -> None:
    office.tells()
    with Courier(database.open, lambda: office.config) as courier:
        config = office.tells(hook(web))
        assert config.notifications
        courier.end(send_rest=False)
        office.ends()
    assert office.states() == ["due"]
    assert web.requests == []
