"""A TCP proxy before a PostgreSQL server that cuts a connection at a chosen moment, once."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit, urlunsplit


class Cut(Enum):
    """When: before the server gets what was asked, or when it has done it and the answer is on its way."""

    ASKING = "asking"
    ANSWERING = "answering"


@dataclass
class Proxy:
    """Listens on `port`. A request is what the client waits for an answer to; they are counted over all connections."""

    target: tuple[str, int]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: int = 0
    requests: int = 0
    cuts: int = 0
    _at: int | None = None
    _how: Cut = Cut.ASKING
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.listener.listen()
        self.port: int = self.listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, at: int | None, how: Cut = Cut.ASKING) -> None:
        """Count anew, and cut at that request."""
        with self._lock:
            self.requests, self._at, self._how = 0, at, how

    def close(self) -> None:
        self.listener.close()
        for one in list(self._open):
            _end(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.connections += 1
                server = socket.create_connection(self.target)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {client, server}
                link = _Link(self, client, server)
                for half in (link.ask, link.answer):
                    threading.Thread(target=half, daemon=True).start()

    def request(self) -> Cut | None:
        """One more. How it is to be cut, if it is."""
        with self._lock:
            self.requests += 1
            if self.requests != self._at:
                return None
            self.cuts += 1
            return self._how


@dataclass
class _Link:
    proxy: Proxy
    client: socket.socket
    server: socket.socket
    doomed: bool = False

    def ask(self) -> None:
        """Pass on what the client says, message by message; the first has no type."""
        try:
            self.server.sendall(_message(self.client, typed=False))
            while True:
                message = _message(self.client)
                cut = self.proxy.request() if message[:1] in b"QS" else None
                if cut is Cut.ASKING:
                    break
                self.doomed = self.doomed or cut is Cut.ANSWERING
                self.server.sendall(message)
        except (OSError, EOFError):
            pass
        _end(self.client)
        _end(self.server)

    def answer(self) -> None:
        """Pass on what the server says; a doomed link is cut when the server is ready for the next request."""
        try:
            while True:
                message = _message(self.server)
                if self.doomed:
                    if message[:1] in b"ZG":  # ready; ready to be copied to
                        break
                    continue
                self.client.sendall(message)
        except (OSError, EOFError):
            pass
        _end(self.client)
        _end(self.server)


def _message(source: socket.socket, *, typed: bool = True) -> bytes:
    head = _exactly(source, 5 if typed else 4)
    (length,) = struct.unpack("!I", head[-4:])
    return head + _exactly(source, length - 4)


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    """The proxy before the server of a URL, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    proxy = Proxy((parts.hostname, parts.port))
    place = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
    try:
        yield proxy, urlunsplit(parts._replace(netloc=place, query="sslmode=disable&gssencmode=disable"))
    finally:
        proxy.close()
