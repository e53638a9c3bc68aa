"""Messages by mail, to a real mail server."""

from __future__ import annotations

import json

from databases import Database
from mailserver import PASSWORD, MailServer
from servers import HttpServer, free_port

from batchctl.announce import Alert
from batchctl.notify import Sending
from batchctl.transitions.outbox import announce_alert
from store.sendkit import MINUTE, Office, resend


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
