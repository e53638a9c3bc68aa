"""Who is told what, and what becomes of messages whose target changes, is wrong or is gone."""

from __future__ import annotations

from databases import Database
from mailserver import PASSWORD, MailServer
from servers import HttpServer

from batchctl.announce import Alert
from batchctl.notify import Sending
from batchctl.transitions.outbox import KEPT, announce_alert
from store.sendkit import Office, hook

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


# -- targets that change


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


# -- messages that can't be sent


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
