"""Messages to Resend and to webhooks: what they get, what they answer, when they are asked again."""

from __future__ import annotations

import pytest
from servers import Answer, HttpServer

from batchctl.notify import Sending
from batchctl.transitions.outbox import KEPT
from store.sendkit import MINUTE, Office, hook, resend

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


# -- webhooks


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
