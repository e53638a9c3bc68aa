"""The one socket from which all children of a processor take their items, with what does not fit in yet."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from pathlib import Path

from batchctl.model import Item
from batchctl.processors.python_wire import HEADER, ROOM, header, message, number_of

_SOCKET_BYTES = 4 * 1024 * 1024  # the kernel may grant less


class ItemQueue:
    """Items that nobody has started. The kernel hands them out, each to one child, in order.

    `folder` holds the items that are too large for a message.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)  # the other end must block: the children share its flags
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        self._backlog: deque[bytes | bytearray] = deque()
        self._lock = threading.Lock()
        self._spooled: dict[int, Path] = {}

    def put(self, item: Item, *, first: bool = False) -> bool:
        """True where it does not fit in yet: `flush` later. Raises OSError where a large item can't be spooled."""
        packet = self._packet(item)
        with self._lock:
            if first:
                self._backlog.extendleft(reversed([packet, *self._take_back()]))
                self._flush()
            elif self._backlog or not self._sent(packet):
                self._backlog.append(packet)
            return bool(self._backlog)

    def flush(self) -> bool:
        """Send what has room now; True where something is left."""
        with self._lock:
            self._flush()
            return bool(self._backlog)

    def fileno(self) -> int:
        """Writable when `flush` may help."""
        return self._ours.fileno()

    def withdraw(self, numbers: set[int] | None = None) -> list[int]:
        """Take items back that no child has taken: these, or all. Returns whom it got."""
        with self._lock:
            packets = [*self._take_back(), *self._backlog]
            found = [number_of(packet) for packet in packets]
            self._backlog.clear()
            if numbers is not None:
                self._backlog.extend(p for p, n in zip(packets, found, strict=True) if n not in numbers)
                found = [n for n in found if n in numbers]
                self._flush()
        for number in found:
            self.forget(number)
        return found

    def forget(self, number: int) -> None:
        """The item is done with."""
        if self._spooled and (path := self._spooled.pop(number, None)):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Children that wait for an item read the end."""
        self._ours.close()
        self.theirs.close()

    def _packet(self, item: Item) -> bytearray:
        packet = message(item)
        if len(packet) <= ROOM:
            return packet
        path = self._folder / f"item-{item.number}-{item.claim_no}.json"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(memoryview(packet)[HEADER.size :])
        self._spooled[item.number] = path
        return header(item, spooled=True) + os.fsencode(path)

    def _flush(self) -> None:
        while self._backlog and self._sent(self._backlog[0]):
            self._backlog.popleft()

    def _sent(self, packet: bytes | bytearray) -> bool:
        try:
            self._ours.send(packet)
        except BlockingIOError:
            return False
        return True

    def _take_back(self) -> list[bytes]:
        """What lies in the socket."""
        packets: list[bytes] = []
        while True:
            try:
                packets.append(self.theirs.recv(ROOM, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return packets
