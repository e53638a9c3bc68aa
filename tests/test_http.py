"""What the `http` processor sends, and what it makes of the answers: against a real server on a local port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_help import http, order
from servers import Answer, HttpServer

from batchctl.model import Broken, Completed, Down, Failed


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


# What goes out


def test_an_order_becomes_the_request_of_the_templates(server: HttpServer, tmp_path: Path) -> None:
    with http(
        tmp_path,
        method="POST",
        url=f"{server.url}/customers/{{{{ customer }}}}/invoices",
        params={"trace": "{{ key }}", "tag": ["a", "b"], "left_out": None},
        headers={"Authorization": "Bearer {{ secrets.token }}", "X-Attempt": "{{ attempt }}"},
        json={"order_id": "{{ id }}", "user": "{{ batch.user }}", "note": "No {{ id }}"},
        has_json=True,
        secrets={"token": "t0k3n"},
    ) as send:
        send.order(id=17, customer="Müller & Söhne/7")
    request = server.requests[0]
    assert request.method == "POST"
    assert request.target.startswith("/customers/M%C3%BCller%20%26%20S%C3%B6hne%2F7/invoices?")
    assert request.query == [("trace", "k1"), ("tag", "a"), ("tag", "b")]
    assert request.json() == {"order_id": 17, "user": "mia", "note": "No 17"}
    assert request.headers["authorization"] == "Bearer t0k3n"
    assert request.headers["x-attempt"] == "1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("batchctl/")


@pytest.mark.parametrize(
    ("method", "sent"), [("POST", True), ("PUT", True), ("PATCH", True), ("GET", False), ("DELETE", False)]
)
def test_what_changes_something_carries_the_idempotency_key(
    server: HttpServer, tmp_path: Path, method: str, sent: bool
) -> None:
    with http(tmp_path, method=method, url=server.url) as send:
        send.order()
    assert (server.requests[0].headers.get("idempotency-key") == "key-of-1") is sent


def test_the_idempotency_header_can_be_named_or_left_out(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, method="POST", url=server.url, idempotency_header="X-Request-Id") as send:
        send.order()
    with http(tmp_path, method="POST", url=server.url, idempotency_header=None) as send:
        send.order()
    named, without = server.requests
    assert named.headers["x-request-id"] == "key-of-1"
    assert "idempotency-key" not in named.headers
    assert "idempotency-key" not in without.headers


def test_a_form_is_url_encoded(server: HttpServer, tmp_path: Path) -> None:
    with http(
        tmp_path, method="POST", url=server.url, form={"name": "{{ name }}", "paid": True, "lines": [1, 2]}
    ) as send:
        send.order(name="Jürgen & Co")
    request = server.requests[0]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.body == b"name=J%C3%BCrgen+%26+Co&paid=true&lines=1&lines=2"


def test_a_body_is_sent_as_it_is(server: HttpServer, tmp_path: Path) -> None:
    with http(
        tmp_path, method="POST", url=server.url, body="<id>{{ id }}</id>", headers={"content-type": "application/xml"}
    ) as send:
        send.order(id="ü1")
    assert server.requests[0].body == "<id>ü1</id>".encode()
    assert server.requests[0].headers["content-type"] == "application/xml"


def test_json_null_is_a_body_too(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, method="POST", url=server.url, json=None, has_json=True) as send:
        send.order()
    assert server.requests[0].body == b"null"


def test_a_payload_cannot_add_headers(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=server.url, headers={"X-Name": "{{ name }}"}) as send:
        outcome = send.order(name="a\r\nX-Admin: yes")
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "InvalidRequest"
    assert outcome.error.permanent
    assert server.requests == []


def test_a_missing_name_fails_the_item_for_good(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=f"{server.url}/{{{{ nothing }}}}") as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "TemplateError"
    assert "nothing" in outcome.error.message
    assert outcome.error.permanent


@pytest.mark.parametrize("url", ["ftp://example.com/x", "not a url", "http://", "http://[::1", "http://h:port/"])
def test_an_address_that_is_none_fails_the_item_for_good(tmp_path: Path, url: str) -> None:
    with http(tmp_path, url=url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("InvalidUrl", True)


def test_items_share_connections_but_no_cookies(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(200, "hello", {"Set-Cookie": "session=of-item-1"}))
    with http(tmp_path, url=server.url, width=1) as send:
        for number in (1, 2, 3):
            send.run(order(number))
    assert len({request.peer for request in server.requests}) == 1
    assert all("cookie" not in request.headers for request in server.requests)


# What comes back


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(201, {"id": 7}), {"id": 7}),
        (Answer(200, b'{"id": 7}', {"Content-Type": "application/problem+json; charset=utf-8"}), {"id": 7}),
        (Answer(200, b"\xef\xbb\xbf[1]", {"Content-Type": "application/json"}), [1]),
        (Answer(200, b'{"id": 7}'), {"id": 7}),
        (Answer(200, b'{"id": 7}', {"Content-Type": "text/html"}), '{"id": 7}'),
        (Answer(200, b'{"id": 7', {"Content-Type": "application/json"}), '{"id": 7'),
        (Answer(200, b'{"x": NaN}', {"Content-Type": "application/json"}), '{"x": NaN}'),
        (Answer(200, "grüezi"), "grüezi"),
        (Answer(200, "grüezi".encode("latin-1"), {"Content-Type": "text/plain; charset=iso-8859-1"}), "grüezi"),
        (Answer(200, b"gr\xfcezi", {"Content-Type": "text/plain; charset=klingon"}), "gr\ufffdezi"),
        (
            Answer(200, b"%PDF\xff\x00", {"Content-Type": "application/pdf"}),
            {"media_type": "application/pdf", "size": 6, "base64": "JVBERv8A"},
        ),
        (Answer(204), None),
    ],
)
def test_the_body_is_the_result(server: HttpServer, tmp_path: Path, answer: Answer, result: Any) -> None:
    server.script(answer)
    with http(tmp_path, url=server.url) as send:
        assert send.order() == Completed(result)


def test_a_compressed_answer_is_unpacked(server: HttpServer, tmp_path: Path) -> None:
    import gzip

    server.script(
        Answer(200, gzip.compress(b'{"id": 7}'), {"Content-Type": "application/json", "Content-Encoding": "gzip"})
    )
    with http(tmp_path, url=server.url) as send:
        assert send.order() == Completed({"id": 7})


def test_the_result_is_what_its_template_says(server: HttpServer, tmp_path: Path) -> None:
    server.default = Answer(201, {"data": {"no": 7}}, {"X-Request-Id": "r1"})
    wanted = {
        "no": "{{ body.data.no }}",
        "status": "{{ status }}",
        "id": "{{ id }}",
        "trace": "{{ headers['x-request-ID'] }}",
    }
    with http(tmp_path, url=server.url, result=wanted) as send:
        assert send.order(id="o1") == Completed({"no": 7, "status": 201, "id": "o1", "trace": "r1"})


def test_a_result_that_is_not_there_fails_for_good(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=server.url, result="{{ body.data }}") as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("ResultError", True)
    assert "body.data" in outcome.error.message


def test_an_answer_over_the_limit_fails_for_good(server: HttpServer, tmp_path: Path) -> None:
    server.default = Answer(200, b"x" * 2001)
    with http(tmp_path, url=server.url, max_output=2000) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("OutputTooLarge", True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 520])
def test_these_statuses_are_tried_again(server: HttpServer, tmp_path: Path, status: int) -> None:
    server.default = Answer(status, {"error": {"message": "come back later"}})
    with http(tmp_path, url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert not outcome.error.permanent
    assert str(status) in outcome.error.message
    assert "come back later" in outcome.error.message


@pytest.mark.parametrize("status", [400, 404, 409, 410, 422])
def test_other_client_errors_are_permanent(server: HttpServer, tmp_path: Path, status: int) -> None:
    server.default = Answer(status, {"message": "no such customer"})
    with http(tmp_path, url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert outcome.error.permanent
    assert outcome.error.message.startswith(f"HTTP {status} ")
    assert outcome.error.message.endswith(": no such customer")
    assert f"HTTP {status}" in outcome.log


@pytest.mark.parametrize("status", [401, 403, 407])
def test_refused_credentials_are_the_processors_fault(server: HttpServer, tmp_path: Path, status: int) -> None:
    server.default = Answer(status)
    with http(tmp_path, url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Broken)
    assert str(status) in outcome.error.message


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_receiver_that_is_down_is_named_by_its_origin(server: HttpServer, tmp_path: Path, status: int) -> None:
    server.default = Answer(status, headers={"Retry-After": "7"})
    with http(tmp_path, url=f"{server.url}/deep/path?x=1") as send:
        outcome = send.order()
    assert isinstance(outcome, Down)
    assert outcome.origin == server.url
    assert outcome.retry_after == 7


def test_retry_after_is_passed_on(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(429, headers={"Retry-After": "2.5"}), Answer(429, headers={"retry-after-ms": "150"}))
    with http(tmp_path, url=server.url) as send:
        first, second = send.order(), send.order()
    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert (first.retry_after, second.retry_after) == (2.5, 0.15)


# The processor's own rules


def test_success_may_take_other_statuses_in(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(409, {"id": 7}), Answer(404, "gone"))
    with http(tmp_path, url=server.url, success="status in (201, 409)") as send:
        assert send.order() == Completed({"id": 7})
        refused = send.order()
    assert isinstance(refused, Failed)
    assert refused.error.permanent


def test_a_2xx_without_success_is_permanent(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(200, {"flag": False, "message": "unknown job"}), Answer(200, "<html>maintenance"))
    with http(tmp_path, url=server.url, success="body.flag") as send:
        for words in ("unknown job", "maintenance"):
            outcome = send.order()
            assert isinstance(outcome, Failed)
            assert outcome.error.permanent
            assert words in outcome.error.message


def test_a_success_that_cannot_be_worked_out_leaves_it_to_the_status(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(500, "<html>oops"))
    with http(tmp_path, url=server.url, success="body.flag") as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert not outcome.error.permanent


def test_retry_if_and_permanent_if_overrule_the_status(server: HttpServer, tmp_path: Path) -> None:
    server.script(
        Answer(200, {"state": "running"}, {"Retry-After": "3"}),
        Answer(503, {"state": "rejected"}),
        Answer(200, {"state": "done"}),
    )
    with http(
        tmp_path, url=server.url, retry_if="body.state == 'running'", permanent_if="body.state == 'rejected'"
    ) as send:
        again, never, done = send.order(), send.order(), send.order()
    assert isinstance(again, Failed)
    assert (again.error.permanent, again.retry_after) == (False, 3)
    assert isinstance(never, Failed)
    assert never.error.permanent
    assert done == Completed({"state": "done"})


def test_permanent_if_makes_a_refused_credential_the_items_fault(server: HttpServer, tmp_path: Path) -> None:
    server.default = Answer(403, {"code": "not_your_customer"})
    with http(tmp_path, url=server.url, permanent_if="status == 403 and body.code == 'not_your_customer'") as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert outcome.error.permanent


# Secrets


def test_no_secret_leaves_through_messages_logs_or_results(server: HttpServer, tmp_path: Path) -> None:
    echo = {"message": "bad token s3cr3t/x" + "." * 370 + "s3cr3t/x"}
    server.script(Answer(400, echo, {"X-Echo": "s3cr3t/x"}), Answer(200, {"you sent": ["Bearer s3cr3t/x"]}))
    with http(tmp_path, url=f"{server.url}/{{{{ secrets.t }}}}", secrets={"t": "s3cr3t/x"}, mask=("s3cr3t/x",)) as send:
        failed, done = send.order(), send.order()
    assert "s3cr3t%2Fx" in server.requests[0].target
    assert isinstance(failed, Failed)
    assert "bad token ***" in failed.error.message
    assert "s3cr" not in failed.error.message + failed.log
    assert done == Completed({"you sent": ["Bearer ***"]})


def test_a_refused_address_is_shown_without_its_secret(tmp_path: Path) -> None:
    with http(tmp_path, url="ftp://user:s3cr3t-x@host/", mask=("s3cr3t-x",)) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert "s3cr3t" not in outcome.error.message
    assert "ftp://user:***@host/" in outcome.error.message
