"""What the `http` processor makes of networks: lost answers, redirects, proxies, certificates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_help import http, order
from servers import Answer, HttpServer, Recorded, free_port

from batchctl.model import Broken, Completed, Down, Failed, Outcome


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


@pytest.fixture
def other() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


# Answers that never came


@pytest.mark.parametrize("on_unknown", ["retry", "fail"])
def test_a_refused_connection_means_down_and_is_never_unknown(tmp_path: Path, on_unknown: Any) -> None:
    origin = f"http://127.0.0.1:{free_port()}"
    with http(tmp_path, method="POST", url=f"{origin}/x", on_unknown=on_unknown) as send:
        outcome = send.order()
    assert isinstance(outcome, Down)
    assert outcome.origin == origin
    assert outcome.error.message == f"cannot connect to {origin}: Connection refused"
    assert not outcome.error.permanent


def test_an_unknown_host_means_down(tmp_path: Path) -> None:
    with http(tmp_path, url="http://no-such-host.invalid/") as send:
        outcome = send.order()
    assert isinstance(outcome, Down)
    assert outcome.origin == "http://no-such-host.invalid:80"
    assert outcome.error.type == "DnsError"


@pytest.mark.parametrize("lost", [Answer(drop="before"), Answer(200, "x" * 100, drop="during")])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_lost_answer_is_tried_again_by_the_queue_alone(
    server: HttpServer, tmp_path: Path, lost: Answer, method: str
) -> None:
    server.default = lost
    with http(tmp_path, method=method, url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Down)
    assert outcome.origin == server.url
    assert outcome.error.type == "ConnectionLost"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "lost", [Answer(drop="before"), Answer(200, "x" * 100, drop="during"), Answer(raw=b"SSH-2.0-x\r\n")]
)
def test_a_lost_answer_is_final_where_the_config_says_so(server: HttpServer, tmp_path: Path, lost: Answer) -> None:
    server.default = lost
    with http(tmp_path, method="POST", url=server.url, on_unknown="fail") as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert outcome.error.permanent
    assert "may have carried the request out" in outcome.error.message


def test_what_is_not_http_is_tried_again(server: HttpServer, tmp_path: Path) -> None:
    server.default = Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n")
    with http(tmp_path, method="POST", url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("BadAnswer", False)


@pytest.mark.parametrize(("on_unknown", "permanent"), [("retry", False), ("fail", True)])
def test_the_timeout_covers_the_whole_try(server: HttpServer, tmp_path: Path, on_unknown: Any, permanent: bool) -> None:
    server.default = Answer(hold=True)
    with http(tmp_path, method="POST", url=server.url, timeout=0.3, on_unknown=on_unknown) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("Timeout", permanent)
    assert "within 0.3 s" in outcome.error.message
    assert len(server.requests) == 1


# Redirects


def test_a_get_follows_redirects(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(302, headers={"Location": "/b?x=%2F"}), Answer(308, headers={"Location": f"{server.url}/c"}))
    with http(tmp_path, url=f"{server.url}/a", headers={"Authorization": "Bearer t"}) as send:
        assert send.order() == Completed({"status": "ok"})
    assert [request.target for request in server.requests] == ["/a", "/b?x=%2F", "/c"]
    assert all(request.headers["authorization"] == "Bearer t" for request in server.requests)


def test_no_credentials_follow_to_another_origin(server: HttpServer, other: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(302, headers={"Location": f"{other.url}/x"}))
    headers = {"Authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "c=1", "Accept": "application/json"}
    with http(tmp_path, url=server.url, headers=headers) as send:
        assert send.order() == Completed({"status": "ok"})
    seen = other.requests[0].headers
    assert seen["accept"] == "application/json"
    assert {"authorization", "x-api-key", "cookie"}.isdisjoint(seen)


def test_redirects_end_after_five(server: HttpServer, tmp_path: Path) -> None:
    server.default = Answer(302, headers={"Location": "/again"})
    with http(tmp_path, url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("TooManyRedirects", True)
    assert len(server.requests) == 6


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[", "ftp://127.0.0.1/"])
def test_a_redirect_out_of_http_fails(server: HttpServer, tmp_path: Path, location: str) -> None:
    server.script(Answer(302, headers={"Location": location}))
    with http(tmp_path, url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("InvalidUrl", True)


def test_a_post_follows_no_redirect(server: HttpServer, tmp_path: Path) -> None:
    server.script(Answer(307, headers={"Location": "/elsewhere"}))
    with http(tmp_path, method="POST", url=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("Redirected", True)
    assert len(server.requests) == 1


# Proxies


def test_the_processors_proxy_carries_the_request(server: HttpServer, tmp_path: Path) -> None:
    proxy = server.url.replace("//", "//user:pa%2Fss@")
    with http(tmp_path, url="http://erp.example.com/x", proxy=proxy) as send:
        assert send.order() == Completed({"status": "ok"})
    request = server.requests[0]
    assert request.target == "http://erp.example.com/x"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYS9zcw=="


def test_the_environments_proxy_counts_unless_no_proxy_says_otherwise(
    server: HttpServer, other: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1,internal.example")
    with http(tmp_path, url="{{ url | safe }}") as send:
        for url in ("http://erp.example.com/x", other.url):
            assert send.order(url=url) == Completed({"status": "ok"})
    assert [request.target for request in server.requests] == ["http://erp.example.com/x"]
    assert [request.target for request in other.requests] == ["/"]


def test_an_empty_proxy_ignores_the_environment(
    server: HttpServer, other: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.delenv("no_proxy", raising=False)
    with http(tmp_path, url=server.url, proxy="") as send:
        assert send.order() == Completed({"status": "ok"})
    assert other.requests == []


@pytest.mark.parametrize(("status", "kind"), [(407, Broken), (503, Down), (400, Failed)])
def test_a_proxy_that_opens_no_tunnel(server: HttpServer, tmp_path: Path, status: int, kind: type[Outcome]) -> None:
    server.answers(lambda _request: Answer(status))
    with http(tmp_path, url="https://erp.example.com/x", proxy=server.url) as send:
        outcome = send.order()
    assert isinstance(outcome, kind)
    assert server.requests[0].method == "CONNECT"


def test_a_proxy_that_cannot_be_reached_means_down(tmp_path: Path) -> None:
    proxy = f"http://user:s3cr3t@127.0.0.1:{free_port()}"
    with http(tmp_path, url="http://erp.example.com/x", proxy=proxy) as send:
        outcome = send.order()
    assert isinstance(outcome, Down)
    assert outcome.origin == "http://erp.example.com:80"
    assert outcome.error.type == "ProxyError"
    assert "s3cr3t" not in outcome.error.message


def test_a_kind_of_proxy_that_is_not_known_is_the_processors_fault(tmp_path: Path) -> None:
    with http(tmp_path, url="http://erp.example.com/", proxy="gopher://127.0.0.1:1") as send:
        outcome = send.order()
    assert isinstance(outcome, Broken)


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    assert shutil.which("openssl"), "these tests need the openssl program"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    make += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make += ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run(make, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return both


def test_verify_decides_whose_certificates_count(certificate: Path, tmp_path: Path) -> None:
    with HttpServer(tls=str(certificate)) as server:
        with http(tmp_path, url=server.url) as send:
            refused = send.order()
        with http(tmp_path, url=server.url, verify=str(certificate)) as send:
            trusted = send.order()
        with http(tmp_path, url=server.url, verify=False) as send:
            unchecked = send.order()
    assert isinstance(refused, Down)
    assert refused.error.type == "TlsError"
    assert "self-signed" in refused.error.message
    assert trusted == unchecked == Completed({"status": "ok"})


def test_a_ca_bundle_that_is_missing_is_the_processors_fault(tmp_path: Path) -> None:
    with http(tmp_path, url="https://127.0.0.1/", verify=str(tmp_path / "ca.pem")) as send:
        outcome = send.order()
    assert isinstance(outcome, Broken)
    assert "ca.pem" in outcome.error.message


def test_a_server_that_speaks_no_tls(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, url=server.url.replace("http:", "https:")) as send:
        outcome = send.run(order())
    assert isinstance(outcome, Down)


def test_many_at_once_each_get_their_own_answer(server: HttpServer, tmp_path: Path) -> None:
    def echo(request: Recorded) -> Answer:
        return Answer(200, request.json())

    server.answers(echo)
    with http(tmp_path, method="POST", url=server.url, json={"n": "{{ n }}"}, has_json=True, width=16) as send:
        runs = [send.send(order(n, n=n)) for n in range(1, 200)]
        assert [run.wait() for run in runs] == [Completed({"n": n}) for n in range(1, 200)]
