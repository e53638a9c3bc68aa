"""Messages on their way: real mail and web servers, failures of every kind, and nobody waits for somebody else's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from mailserver import PASSWORD, MailServer
from servers import Answer, HttpServer, free_port, until

from batchctl.announce import Alert
from batchctl.config import Config, load
from batchctl.engines.base import Engine
from batchctl.notify import ConfigAnnouncer, Courier, Sending, send_due, sender
from batchctl.store import Store
from batchctl.transitions.outbox import KEPT, announce_alert
from store.kit import Clock, Worker
from store.kit import load as enqueue

Peek = Callable[..., list[tuple[Any, ...]]]
MINUTE = 60_000


class Office:
    """A store, a config with notifications, and what ends batches."""

    def __init__(self, store: Store, worker: Worker, clock: Clock, peek: Peek, folder: Path) -> None:
        self.store, self.worker, self.clock, self.peek, self.folder = store, worker, clock, peek, folder
        self.environ = {"SMTP_PASSWORD": PASSWORD}
        self.config = Config(folder=folder, store="")

    def tells(self, *entries: dict[str, Any], secrets: dict[str, str] | None = None) -> Config:
        path = self.folder / "batchctl.yaml"
        path.write_text(json.dumps({"notifications": entries, "secrets": secrets or {}}))
        path.chmod(0o600)
        self.config = load(path, self.environ, self.folder)
        self.store.engine.announce_with(ConfigAnnouncer(self.config))
        return self.config

    def ends(self, *, fails: bool = False, **new: Any) -> int:
        (no,) = enqueue(self.store, 1, **({"user": "jo@example.org", "name": "june"} | new))
        (self.worker.fail if fails else self.worker.complete)(*self.worker.claim(1))
        return no

    def send(self) -> Sending:
        return send_due(self.store, self.config)

    def rows(self) -> list[tuple[Any, ...]]:
        return self.peek("SELECT target, state, attempts, error FROM outbox ORDER BY id")

    def states(self) -> list[str]:
        return [row[1] for row in self.rows()]


@pytest.fixture
def office(store: Store, worker: Worker, clock: Clock, peek: Peek, tmp_path: Path) -> Office:
    return Office(store, worker, clock, peek, tmp_path)


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def hook(web: HttpServer, path: str = "hook", **more: Any) -> dict[str, Any]:
    return {"to": f"json://127.0.0.1:{web.port}/{path}", **more}


def resend(web: HttpServer, to: str = "{{ batch.user }}", **more: Any) -> dict[str, Any]:
    return {"to": f"resend://re_abcdef123456:robot@example.com/{to}?base_url={web.url}", **more}


# -- mail


def test_a_mail_to_the_submitter(office: Office) -> None:
    with MailServer() as server:
        office.tells({"to": server.url("&to={{ batch.user }}")})
        office.ends(fails=True)
        assert office.send() == Sending(sent=1)
        (mail,) = server.wait()
    assert mail.recipients == ("jo@example.org",)
    assert mail.sender == "robot@example.com"
    assert mail.message["Subject"] == "june: 1 failed"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert "no such customer" in mail.body("plain")
    assert "batchctl errors b" in mail.body("plain")
    assert "<code>batchctl errors b" in mail.body("html")
    assert office.states() == ["sent"]
    assert office.send() == Sending()


def test_the_store_has_no_password_and_an_address_that_people_know(office: Office, database: Database) -> None:
    with MailServer() as server:
        office.tells(
            {"to": server.url("&to={{ batch.user }}")}, {"to": server.url("&to=a@b.org", PASSWORD[:4] + "lit")}
        )
        office.ends()
    ((target, message), _) = office.peek("SELECT target, message FROM outbox ORDER BY id")
    assert target.startswith("mailto-")
    assert json.loads(bytes(message))["recipient"] == "jo@example.org"
    for table in ("outbox", "events"):
        text = str(office.peek(f"SELECT * FROM {table}"))  # noqa: S608 - two known names
        assert PASSWORD not in text
        assert PASSWORD[:4] + "lit" not in text
    if database.path is not None:
        assert PASSWORD.encode() not in database.path.read_bytes()


def test_nothing_in_a_name_reaches_the_headers(office: Office) -> None:
    with MailServer() as server:
        office.tells({"to": server.url("&to={{ batch.user }}")})
        office.ends(name="june\r\nBcc: all@example.org\r\n\r\nx", user="jo@example.org\r\nX-Evil: yes")
        office.send()
        (mail,) = server.wait()
    assert mail.recipients == ("jo@example.org",)
    assert (mail.message["Bcc"], mail.message["X-Evil"]) == (None, None)
    assert mail.message["Subject"] == "june Bcc: all@example.org x: 1 completed"


def test_wrong_credentials_are_tried_again_and_work_when_mended(office: Office) -> None:
    with MailServer() as server:
        office.environ["SMTP_PASSWORD"] = PASSWORD[::-1]
        office.tells({"to": server.url()})
        office.ends()
        done = office.send()
        assert (done.sent, done.failed, done.dead) == (0, 1, 0)
        assert "535" in done.errors[0] or "Authentication" in done.errors[0]
        assert PASSWORD[::-1] not in str(office.rows()) + str(done)
        office.environ["SMTP_PASSWORD"] = PASSWORD
        office.tells({"to": server.url()})  # the target's name does not change with its password
        office.clock.advance(2 * MINUTE)
        assert office.send().sent == 1
        assert server.wait()[0].recipients == ("robot@example.com",)


def test_a_mail_server_that_is_not_there_or_not_ready(office: Office) -> None:
    with MailServer(refuse="451 try later") as server:
        port = free_port()
        office.tells(
            {"to": f"mailto://robot:x@example.com:{port}?smtp=127.0.0.1", "name": "gone"},
            {"to": server.url(), "name": "busy"},
        )
        office.ends()
        done = office.send()
        assert (done.sent, done.failed) == (0, 2)
        said = {target: error for target, _, _, error in office.rows()}
        assert "refused" in said["gone"].lower()
        assert "451" in said["busy"]
        assert office.send() == Sending()  # not before its time
        server.refuse = None
        office.clock.advance(2 * MINUTE)
        assert office.send().sent == 1
        assert office.states() == ["due", "sent"]


def test_an_alert_has_no_submitter_and_goes_to_the_account_itself(office: Office, web: HttpServer) -> None:
    with MailServer() as server:
        office.tells({"to": server.url("&to={{ batch.user }}")}, resend(web))
        with office.store.engine.write() as tx:
            announce_alert(tx, Alert("queue_depth", "1,204 items wait"), office.clock())
        assert office.send().sent == 2
        assert server.wait()[0].recipients == ("robot@example.com",)
        assert server.mails[0].message["Subject"] == "alert: 1,204 items wait"
    assert web.requests[0].json()["to"] == ["robot@example.com"]


# -- Resend


def test_resend_gets_one_key_for_all_tries(office: Office, web: HttpServer) -> None:
    web.script(Answer(500, "oops"), Answer(200, drop="before"), Answer(200, {"id": "x"}))
    office.tells(resend(web))
    office.ends(fails=True)
    for _ in range(3):
        office.send()
        office.clock.advance(10 * MINUTE)
    assert office.rows()[0][1:3] == ("sent", 3)
    first, second, third = web.requests
    assert first.path == "/emails"
    assert first.headers["authorization"] == "Bearer re_abcdef123456"
    assert first.body == second.body == third.body
    keys = {request.headers["idempotency-key"] for request in web.requests}
    assert len(keys) == 1
    body = first.json()
    assert (body["from"], body["to"]) == ("batchctl <robot@example.com>", ["jo@example.org"])
    assert body["subject"] == "june: 1 failed"
    assert "batchctl errors" in body["text"]
    assert "<code>" in body["html"]
    office.ends()
    office.send()
    assert web.requests[3].headers["idempotency-key"] not in keys


@pytest.mark.parametrize("status", [400, 422])
def test_resend_says_that_the_mail_is_wrong(office: Office, web: HttpServer, status: int) -> None:
    web.script(Answer(status, {"message": "the domain is not verified"}))
    office.tells(resend(web))
    office.ends()
    done = office.send()
    assert (done.failed, done.dead) == (0, 1)
    assert "the domain is not verified" in done.errors[0]
    assert "batchctl notify retry" in done.errors[0]


def test_resend_is_asked_again_when_it_says_so(office: Office, web: HttpServer) -> None:
    web.script(Answer(429, "slow down", {"Retry-After": "600"}))
    office.tells(resend(web))
    for _ in range(6):
        office.ends()
    done = office.send()  # four at once: one is refused, and then nothing more goes there
    assert (done.sent, done.failed) == (3, 1)
    office.clock.advance(599_000)
    assert office.send() == Sending()
    assert len(web.requests) == 4
    office.clock.advance(1_000)
    assert office.send().sent == 3


# -- webhooks and all the rest


def test_a_webhook_gets_the_facts_and_a_key(office: Office, web: HttpServer) -> None:
    office.tells(hook(web))
    office.ends(name="june orders & more", organization="acme")
    assert office.send().sent == 1
    (request,) = web.requests
    body = request.json()
    assert body["title"] == "june orders & more: 1 completed"
    assert body["type"] == "success"
    assert (body["event"], body["name"], body["organization"]) == ("completed", "june orders & more", "acme")
    assert (body["completed_items"], body["failed_items"]) == ("1", "0")
    assert len(request.headers["idempotency-key"]) == 32


def test_a_webhook_that_asks_for_a_pause_gets_it(office: Office, web: HttpServer) -> None:
    web.script(Answer(429, "slow down", {"Retry-After": "1800"}))
    office.tells(hook(web))
    office.ends()
    assert "429" in office.send().errors[0]
    office.clock.advance(1_799_000)
    assert office.send() == Sending()
    office.clock.advance(1_000)
    assert office.send().sent == 1


def test_pauses_grow_from_a_minute_to_an_hour_and_after_23_hours_it_is_dead(office: Office, web: HttpServer) -> None:
    web.answers(lambda request: Answer(503 if request.path == "/hook" else 200))
    office.tells(hook(web, name="ops"), hook(web, "other", name="other", events=["alert"]))
    begun = office.clock()
    office.ends()
    pauses, told, dead = [], [], 0
    while not dead:
        done = office.send()
        told += done.errors
        dead = done.dead
        if not dead:
            (due,) = office.peek("SELECT next_attempt_at FROM outbox WHERE target = 'ops'")[0]
            pauses.append(due - office.clock())
            office.clock.advance(due - office.clock())
    assert 54_000 <= pauses[0] <= 66_000
    assert max(pauses) <= 3_960_000
    assert pauses == sorted(pauses[:6]) + pauses[6:]
    assert 20 < len(pauses) < 40
    assert office.clock() - begun <= KEPT
    assert len(told) == 2  # the first failure and the death, not each try
    assert "is given up" in told[1]
    assert done.sent == 1
    alert = web.requests[-1]
    assert alert.path == "/other"
    assert "could not be sent" in alert.json()["title"]
    assert "batchctl notify list" in alert.json()["message"]


def test_what_has_no_target_here_waits_and_dies_after_23_hours(office: Office, web: HttpServer) -> None:
    office.tells(hook(web, name="old"))
    office.ends()
    office.tells(hook(web, name="new"))
    assert office.send() == Sending()
    assert office.states() == ["due"]
    office.clock.advance(KEPT)
    assert office.send().dead == 1
    assert office.rows()[0][3] == "no sender here knows this target"


def test_a_secret_that_is_missing_here_leaves_the_message_to_others(office: Office) -> None:
    with MailServer() as server:
        del office.environ["SMTP_PASSWORD"]
        office.tells({"to": server.url()})
        office.ends()
        assert office.send() == Sending()
        assert office.states() == ["due"]
        office.environ["SMTP_PASSWORD"] = PASSWORD
        office.tells({"to": server.url()})
        assert office.send().sent == 1


def test_a_target_keeps_its_name_while_others_come_and_go(office: Office, web: HttpServer) -> None:
    office.tells(hook(web, "a"), hook(web, "b"))
    office.ends()
    office.tells(hook(web, "c"), hook(web, "b", events=["failed"]), hook(web, "a"))
    assert office.send().sent == 2
    assert sorted(request.path for request in web.requests) == ["/a", "/b"]


def test_a_name_keeps_its_messages_when_the_address_is_mended(office: Office, web: HttpServer) -> None:
    office.tells({"to": "mailto://robot:x@example.com?to={{ batch.user }}&to=", "name": "ops"})
    office.ends()
    office.tells(hook(web, name="ops"))
    assert office.send().sent == 1


def test_an_address_that_cannot_be_made_is_dead_at_once(office: Office, web: HttpServer) -> None:
    office.tells(
        hook(web, "{{ batch.usr }}", name="typo", events="completed"),
        {"to": "mailto://robot:x@example.com?to={{ batch.user }}", "name": "nobody", "events": "completed"},
        {"to": "nonsense://x", "name": "nonsense", "events": "completed"},
        hook(web, name="good", events="completed"),
    )
    office.ends(user="jo")
    done = office.send()
    assert (done.sent, done.dead) == (1, 3)
    said = {target: error for target, _, _, error in office.rows()}
    assert "batch.usr" in said["typo"]
    assert "jo" in said["nobody"]
    assert "Apprise does not understand" in said["nonsense"]


def test_a_message_that_somebody_tampered_with_is_dead(office: Office, web: HttpServer, database: Database) -> None:
    office.tells(hook(web))
    office.ends()
    database.change("UPDATE outbox SET message = ?", b"{}")
    assert office.send().dead == 1


# -- who is told what


def test_events_processors_and_organizations(office: Office, web: HttpServer) -> None:
    office.tells(
        hook(web, "all", name="all"),
        hook(web, "failed", name="failed", events=["failed", "alert"]),
        hook(web, "p", name="p", processors="p"),
        hook(web, "q", name="q", processors=["q"]),
        hook(web, "acme", name="acme", organizations=["acme"]),
    )
    office.ends(organization="acme")
    office.ends(fails=True)
    with office.store.engine.write() as tx:
        announce_alert(tx, Alert("queue_depth", "much"), office.clock())
        announce_alert(tx, Alert("processor_broken", "p", processor="p"), office.clock())
    told = office.peek("SELECT event, target FROM outbox ORDER BY id")
    assert told == [
        *(("completed", target) for target in ("all", "p", "acme")),
        *(("failed", target) for target in ("all", "failed", "p")),
        *(("alert", target) for target in ("all", "failed")),
        *(("alert", target) for target in ("all", "failed", "p")),
    ]


def test_one_target_named_twice_is_told_once(office: Office, web: HttpServer) -> None:
    office.tells(hook(web, events=["completed"]), hook(web, processors=["p"]))
    office.ends()
    assert office.send().sent == 1


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
