"""Files as what the `http` processor sends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli
from http_help import http, order
from servers import HttpServer

from batchctl.model import Completed, Failed, FileRef


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


def enqueued(path: Path, content: bytes, media_type: str = "application/pdf") -> FileRef:
    path.write_bytes(content)
    return FileRef(str(path), path.name, len(content), hashlib.sha256(content).hexdigest(), media_type)


def test_a_file_is_the_body_and_its_progress_shows(server: HttpServer, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    file = enqueued(tmp_path / "scan.bin", content)
    with http(tmp_path, method="POST", url=server.url, file="{{ path }}") as send:
        run = send.send(order(file=file))
        assert run.wait() == Completed({"status": "ok"})
    request = server.requests[0]
    assert request.body == content
    assert request.headers["content-type"] == "application/pdf"
    assert request.headers["content-length"] == str(len(content))
    assert run.percents == sorted(set(run.percents))
    assert run.percents[-1] == 100
    assert len(run.percents) > 2


def test_a_file_in_a_form_is_multipart(server: HttpServer, tmp_path: Path) -> None:
    file = enqueued(tmp_path / 'Rechnung "März"\n.pdf', b"%PDF-1.7")
    with http(tmp_path, method="POST", url=server.url, file="{{ path }}", form={"kind": "{{ kind }}"}) as send:
        assert send.run(order(file=file, kind="invoice")) == Completed({"status": "ok"})
    request = server.requests[0]
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="kind"' in request.body
    assert b"\r\n\r\ninvoice\r\n" in request.body
    assert 'name="file"; filename="Rechnung %22März%22%0A.pdf"'.encode() in request.body
    assert b"Content-Type: application/pdf" in request.body
    assert b"\r\n\r\n%PDF-1.7\r\n" in request.body


def test_another_file_is_found_beside_the_config(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("Net 30")
    with http(tmp_path, method="PUT", url=server.url, file="terms.txt") as send:
        assert send.order() == Completed({"status": "ok"})
    assert server.requests[0].body == b"Net 30"
    assert server.requests[0].headers["content-type"] == "text/plain"


def test_an_empty_file_is_sent(server: HttpServer, tmp_path: Path) -> None:
    file = enqueued(tmp_path / "empty.pdf", b"")
    with http(tmp_path, method="POST", url=server.url, file="{{ path }}") as send:
        assert send.run(order(file=file)) == Completed({"status": "ok"})
    assert server.requests[0].headers["content-length"] == "0"


@pytest.mark.parametrize(("change", "kind"), [("gone", "FileMissing"), ("other", "FileChanged")])
def test_what_is_not_what_was_enqueued_is_not_sent(server: HttpServer, tmp_path: Path, change: str, kind: str) -> None:
    path = tmp_path / "scan.pdf"
    file = enqueued(path, b"%PDF-1.7")
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"%PDF-1.4")
    with http(tmp_path, method="POST", url=server.url, json={"path": "{{ path }}"}, has_json=True) as send:
        outcome = send.run(order(file=file))
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == (kind, True)
    assert server.requests == []


def test_a_file_that_is_not_there_fails_for_good(server: HttpServer, tmp_path: Path) -> None:
    with http(tmp_path, method="POST", url=server.url, file="{{ name }}.pdf") as send:
        outcome = send.order(name="missing")
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("FileMissing", True)
    assert server.requests == []


def test_a_config_may_send_a_form_with_a_file(cli: Cli, server: HttpServer) -> None:
    (cli.folder / "scan.txt").write_text("Total: 12 EUR")
    cli.config(
        f"""
store: queue.db
processors:
  ocr:
    http: {{method: POST, url: "{server.url}", form: {{name: "{{{{ stem }}}}"}}, file: "{{{{ path }}}}"}}
"""
    )
    answer = cli.json("enqueue", "files", "scan.txt", "-p", "ocr", "--run", "-j", "1")
    assert answer["completed"] == 1
    request = server.requests[0]
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert b"\r\n\r\nscan\r\n" in request.body
    assert b"Total: 12 EUR" in request.body
