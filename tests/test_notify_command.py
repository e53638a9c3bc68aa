"""`notify test|list|retry` and what `config check` says of notifications."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from queuekit import Program
from servers import Answer, HttpServer

from batchctl.announce import Alert
from batchctl.config import load
from batchctl.notify import ConfigAnnouncer
from batchctl.transitions.outbox import announce_alert


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def tells(folder: Path, *entries: dict[str, Any]) -> None:
    path = folder / "batchctl.yaml"
    path.write_text(json.dumps({"processors": {"p": {"command": ["true"]}}, "notifications": entries}))
    path.chmod(0o600)


def ends(program: Program, folder: Path, **new: Any) -> None:
    """A batch ends, told by the config in the folder."""
    program.queue.store.engine.announce_with(ConfigAnnouncer(load(folder / "batchctl.yaml", {}, folder)))
    program.queue.add(1, **new)
    program.queue.complete(program.queue.claim()[0])


def hook(web: HttpServer, **more: Any) -> dict[str, Any]:
    return {"to": f"json://127.0.0.1:{web.port}/hook", "name": "ops", **more}


def test_a_test_goes_to_every_target_and_says_who_got_it(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(tmp_path, hook(web), hook(web, name="other", events=["alert"]))
    said = program("notify", "test").out.splitlines()
    assert said == [f"ops (127.0.0.1:{web.port}): sent", f"other (127.0.0.1:{web.port}): sent"]
    assert [request.json()["title"] for request in web.requests] == ["batchctl: a test message"] * 2
    assert program("notify", "test", "--to", "other", "--json").json["tested"][0]["sent"] is True
    assert program("notify", "list", "--json").json["summary"]["total"] == 0


def test_a_test_that_fails_says_why_without_the_password(program: Program, web: HttpServer, tmp_path: Path) -> None:
    web.default = Answer(403, "no")
    tells(tmp_path, hook(web))
    answer = program("notify", "test", code=1)
    assert "ops" in answer.out
    assert "403" in answer.out
    url = f"resend://re_secret_987654:robot@example.com/jo@example.org?base_url={web.url}"
    web.default = Answer(401, "the key re_secret_987654 is wrong")
    answer = program("notify", "test", "--to", url, "--json", code=1)
    (result,) = answer.json["tested"]
    assert result["recipient"] == "jo@example.org"
    assert "the key *** is wrong" in result["error"]
    assert "re_secret_987654" not in answer.out + answer.err


def test_nobody_to_test(program: Program, web: HttpServer, tmp_path: Path) -> None:
    assert "no notifications" in program("notify", "test", code=2).err
    tells(tmp_path, hook(web))
    assert "its targets: ops" in program("notify", "test", "--to", "nobody", code=2).err


def test_the_list_shows_what_was_sent_is_due_or_dead(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(tmp_path, hook(web), {"name": "nonsense", "to": "nonsense://x", "events": "completed"})
    assert program("notify", "list").out == ""
    ends(program, tmp_path, name="june")
    assert {one["state"] for one in program("notify", "list", "--json").json["notifications"]} == {"due"}
    answer = program("notify", "retry", 1)
    assert "1 message sent" in answer.out
    listed = program("notify", "list", "--json").json
    assert {one["target"]: one["state"] for one in listed["notifications"][1:]} == {"ops": "sent", "nonsense": "dead"}
    assert listed["summary"]["dead"] == 1
    sent = listed["notifications"][-1]
    assert (sent["event"], sent["subject"], sent["attempts"]) == ("completed", "june: 1 completed", 1)
    assert sent["batch_id"].startswith("b")
    assert sent["sent_at"] is not None
    table = program("notify", "list", "--status", "dead")
    assert "nonsense" in table.out
    assert "Apprise does not understand" in table.out
    assert "batchctl notify retry" in table.err
    assert len(program("notify", "list", "--limit", "1", "--json").json["notifications"]) == 1


def test_the_list_says_what_no_target_here_can_take(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(tmp_path, hook(web))
    ends(program, tmp_path)
    tells(tmp_path, hook(web, name="new"))
    assert "no target ops" in program("notify", "list").err
    answer = program("notify", "retry", 1, code=1)
    assert "no target ops" in answer.err


def test_dead_messages_are_sent_again(program: Program, web: HttpServer, tmp_path: Path) -> None:
    assert "nothing is dead" in program("notify", "retry").err
    web.script(Answer(422, "not verified"), Answer(422, "not verified"))
    tells(tmp_path, {"name": "mail", "to": f"resend://re_abcdef123:a@example.com/b@example.com?base_url={web.url}"})
    ends(program, tmp_path)
    answer = program("notify", "retry", 1, "--json", code=1)
    assert (answer.json["sent"], answer.json["failed"]) == (0, 1)
    assert "not verified" in answer.json["errors"][0]
    program("notify", "retry", code=1)
    assert "1 message sent" in program("notify", "retry").out
    assert "is sent: it is not sent again" in program("notify", "retry", 1, code=2).err
    assert "there is no message 77" in program("notify", "retry", 77, code=4).err


def test_retry_without_a_store(program: Program) -> None:
    assert "nothing is dead" in program("notify", "retry", "--store", "nowhere.db").err
    assert "there is no message 4: there is no store" in program("notify", "retry", 4, "--store", "no.db", code=4).err
    assert not Path("nowhere.db").exists()


def test_an_organization_sees_its_own(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(tmp_path, hook(web))
    ends(program, tmp_path, org="acme")
    ends(program, tmp_path, org="other")
    listed = program("notify", "list", "--org", "acme", "--json").json
    assert len(listed["notifications"]) == listed["summary"]["total"] == 1
    assert "there is no message" in program("notify", "retry", 2, "--org", "acme", code=4).err


def test_an_alert_stands_in_the_list_without_a_batch(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(tmp_path, hook(web))
    store = program.queue.store
    store.engine.announce_with(ConfigAnnouncer(load(tmp_path / "batchctl.yaml", {}, tmp_path)))
    with store.engine.write() as tx:
        announce_alert(tx, Alert("queue_depth", "much waits"), store.engine.now())
    (one,) = program("notify", "list", "--json").json["notifications"]
    assert (one["event"], one["batch_id"], one["subject"]) == ("alert", None, "alert: much waits")


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("mailto://a:hunter2hunter@example.com?to={{ batch.usr }}", "`batch.usr` is missing"),
        ("mailto://a:hunter2hunter@example.com?to={{ key }}", "`key` is missing: an address sees `batch`"),
        ("mailto://a:hunter2hunter@example.com?to={{ batch.user", "this template is wrong"),
        ("mailot://a:hunter2hunter@example.com", "Apprise does not understand this URL"),
        ("slack://T1JJ3T3L2", "Apprise does not understand this URL"),
        ("resend://hunter2hunter", "a resend URL is resend://"),
        ("jo@example.com", "does not fit; it takes a URL"),
    ],
)
def test_config_check_tries_every_address(program: Program, tmp_path: Path, to: str, said: str) -> None:
    tells(tmp_path, {"to": to})
    answer = program("config", "check", code=2)
    assert said in answer.out
    assert "notifications[0].to" in answer.out
    assert "hunter2hunter" not in answer.out + answer.err


def test_config_check_takes_what_is_right(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(
        tmp_path,
        hook(web),
        {
            "to": [
                "mailto://a:b@example.com?to={{ batch.user }}",
                "resend://re_abcdef123:a@example.com/{{ batch.user }}",
            ]
        },
        {"to": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23ops", "processors": "p"},
    )
    assert "ok" in program("config", "check").out
    shown = program("config", "show").out
    for hidden in ("TIiajkdnlazkcOXrIdevi7FQ", "re_abcdef123"):
        assert hidden not in shown


def test_two_notifications_cannot_have_one_name(program: Program, web: HttpServer, tmp_path: Path) -> None:
    tells(tmp_path, hook(web), hook(web))
    assert "two notifications are called `ops`" in program("config", "check", code=2).out
