"""A real HTTP server on a local port for tests: scripted answers, recorded requests, answers held until an event.

    with HttpServer() as server:
        server.script(Answer(503), Answer(201, {"id": 7}))       # in this order, then `server.default`
        ...
        request = server.wait(2)[-1]

`server.answers(function)` decides by the request instead. Nothing here sleeps: a test that needs an answer to
take long holds it (`Answer(hold=True)`) and lets it go with `server.release()`.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

DEADLINE = 30.0


@dataclass(frozen=True)
class Answer:
    """One scripted answer.

    body    bytes, text, or a value that is sent as JSON
    hold    the answer is kept back until `server.release()`
    drop    "before": the connection closes without an answer; "during": in the middle of the body
    raw     these bytes instead of an HTTP answer; the connection closes after them
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: bool = False
    drop: Literal["before", "during"] | None = None
    raw: bytes | None = None

    def encoded(self) -> tuple[bytes, str | None]:
        """The body and the content type it brings along."""
        if isinstance(self.body, bytes):
            return self.body, None
        if isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8"
        return json.dumps(self.body).encode(), "application/json"


@dataclass(frozen=True)
class Recorded:
    """A request as it came in; `headers` with lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def json(self) -> Any:
        return json.loads(self.body)


class HttpServer:
    """Serves on 127.0.0.1 while it is open. `tls` makes it HTTPS with that certificate and key (one PEM file)."""

    def __init__(self, tls: str | None = None) -> None:
        self.default = Answer(200, {"status": "ok"})
        self._scripted: deque[Answer] = deque()
        self._decide: Callable[[Recorded], Answer] | None = None
        self._requests: list[Recorded] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = _Server(self)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def script(self, *answers: Answer) -> None:
        """These answers next, in this order; each is used once."""
        self._scripted.extend(answers)

    def answers(self, decide: Callable[[Recorded], Answer]) -> None:
        """Ask `decide` for every answer that is not scripted."""
        self._decide = decide

    def release(self) -> None:
        """Let every held answer go, now and from now on."""
        self._released.set()

    @property
    def requests(self) -> list[Recorded]:
        with self._changed:
            return list(self._requests)

    def wait(self, count: int = 1) -> list[Recorded]:
        """The requests so far, once there are `count` of them. Raises AssertionError after 30 s."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._requests) >= count, DEADLINE)
            assert enough, f"only {len(self._requests)} of {count} requests came in"
            return list(self._requests)

    def handle(self, request: Recorded) -> Answer:
        with self._changed:
            self._requests.append(request)
            answer = self._scripted.popleft() if self._scripted else None
            self._changed.notify_all()
        if answer is None:
            answer = self._decide(request) if self._decide else self.default
        if answer.hold:
            self._released.wait(DEADLINE)
        return answer


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def __init__(self, owner: HttpServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of many tests: no word about it."""

    def hang_up(self) -> None:
        """End idle keep-alive connections, so that their threads end."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_any(self) -> None:
        answer = self.server.owner.handle(self._record())
        if answer.drop == "before":
            self.close_connection = True
        elif answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = True
        else:
            self._send(answer)

    def _record(self) -> Recorded:
        return Recorded(
            method=self.command,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=b"".join(self._body()),
            peer=self.client_address,
        )

    def _body(self) -> Iterator[bytes]:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, answer: Answer) -> None:
        body, content_type = answer.encoded()
        headers = dict(answer.headers)
        if content_type and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = content_type
        headers.setdefault("Content-Length", str(len(body)))
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if answer.drop == "during":
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    do_CONNECT = do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the base class asks for these names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Quiet: a test reads `requests`."""


def free_port() -> int:
    """A port where nothing listens (until somebody takes it)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], Any], what: str = "the condition", deadline: float = DEADLINE) -> Any:
    """Ask until it is true; raises AssertionError after the deadline. For what offers no event to wait on."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not become true"
        time.sleep(0.005)
    return found
