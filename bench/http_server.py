"""A small HTTP server in a process of its own: reads each POST and answers after a pause, on kept-alive connections.

`python -m bench.http_server PAUSE_MS` prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

BODY = b'{"status":"ok"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Connection(asyncio.Protocol):
    """One client; requests on a connection come one after the other."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._take_request():
            asyncio.get_running_loop().call_later(self._pause, self._answer)

    def _take_request(self) -> bool:
        """Cut one whole request off what was received."""
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = content_length(head)
        if not end or len(body) < length:
            return False
        self._received = body[length:]
        return True

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


def content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    return int(lower[at + 17 :].split(b"\r\n", 1)[0])


async def serve(pause: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(pause), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever started it reads the port
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) / 1000))
