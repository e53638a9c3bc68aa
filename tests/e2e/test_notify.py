"""Promise 9: the end of a batch and the message about it are one; it is sent by whoever works, whatever dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from mailserver import PASSWORD, MailServer
from servers import Answer, HttpServer, free_port

from e2e.conftest import CONFIG
from e2e.kit import Scene, eventually, finish, kill9


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def told(scene: Scene, *entries: str) -> None:
    scene.cli.config(CONFIG + "notifications:\n" + "".join(f"  - {entry}\n" for entry in entries))


def resend(web: HttpServer) -> str:
    return f'{{to: "resend://re_abcdef123456:robot@example.com/{{{{ batch.user }}}}?base_url={web.url}"}}'


def hook(web: HttpServer, more: str = "") -> str:
    return f'{{to: "json://127.0.0.1:{web.port}/hook"{more}}}'


def states(scene: Scene) -> list[Any]:
    return [state for (state,) in scene.rows("SELECT state FROM outbox ORDER BY id")]


def test_run_sends_a_mail_and_a_failing_target_changes_nothing(scene: Scene, web: HttpServer) -> None:
    scene.cli.env["SMTP_PASSWORD"] = PASSWORD
    with MailServer() as server:
        gone = f'{{name: gone, to: "mailto://robot:x@example.com:{free_port()}?smtp=127.0.0.1"}}'
        told(scene, f'{{to: "{server.url("&to={{ batch.user }}")}"}}', gone, hook(web, ", events: [failed]"))
        scene.enqueue(3, "--user", "jo@example.org", "--name", "june")
        done = scene.cli.run("run")
        assert done.returncode == 0, done.stderr
        assert "warning: a message (completed) to gone is tried again" in done.stderr
        (mail,) = server.wait()
    assert (mail.recipients, mail.message["Subject"]) == (("jo@example.org",), "june: 3 completed")
    assert web.requests == []
    assert states(scene) == ["sent", "due"]
    assert PASSWORD not in done.stderr + scene.cli.ok("notify", "list") + scene.cli.ok("config", "show")


def test_a_kill_in_mid_send_loses_nothing_and_resend_gets_the_same_key(scene: Scene, web: HttpServer) -> None:
    web.script(Answer(200, hold=True))
    told(scene, resend(web))
    scene.enqueue(1, "--user", "jo@example.org")
    worker = scene.worker()
    web.wait(1)
    kill9(worker)
    assert states(scene) == ["sending"]
    assert scene.cli.json("check")["notifications"] == {"sent": 1, "failed": 0}
    first, second = web.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body
    assert states(scene) == ["sent"]
    scene.cli.ok("check")
    assert len(web.requests) == 2


def test_two_checks_at_once_send_once(scene: Scene, web: HttpServer) -> None:
    told(scene, hook(web))
    batch = scene.enqueue(1)
    scene.cli.ok("cancel", batch)
    assert states(scene) == ["due"]
    web.default = Answer(200, hold=True)
    first = scene.cli.start("check")
    scene.started.append(first)
    web.wait(1)
    second = scene.cli.start("check")
    scene.started.append(second)
    finish(second, 0)
    web.release()
    finish(first, 0)
    assert len(web.requests) == 1
    assert states(scene) == ["sent"]


def test_a_message_goes_out_while_others_still_run(scene: Scene, web: HttpServer) -> None:
    told(scene, hook(web))
    scene.enqueue(1, "--name", "short")
    scene.enqueue([{"id": 1, "hold": "go"}], "--name", "long")
    worker = scene.worker()
    scene.holds(1)
    assert web.wait(1)[0].json()["name"] == "short"
    scene.touch("go")
    finish(worker, 0)
    assert [request.json()["name"] for request in web.requests] == ["short", "long"]


def test_a_worker_service_sends_and_a_stop_is_not_delayed(scene: Scene, web: HttpServer) -> None:
    told(scene, hook(web))
    worker = scene.worker("--forever")
    scene.enqueue(1)
    web.wait(1)
    eventually(lambda: states(scene) == ["sent"], "it is recorded")
    worker.send_signal(signal.SIGTERM)
    finish(worker, 143)


def test_enqueue_and_retry_send_too(scene: Scene, web: HttpServer) -> None:
    told(scene, hook(web))
    scene.cli.run("enqueue", "orders", "--id", "1", "--name", "june", "--run", "--retries", "0", "--", "false")
    assert web.requests[0].json()["event"] == "failed"
    scene.cli.run("retry", "june", "--run")
    assert [request.json()["run_no"] for request in web.requests] == ["1", "2"]
    assert "notified" in scene.cli.ok("history", "june")
