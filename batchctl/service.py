"""What a process that systemd started (`Type=notify`) tells it: ready, reloading, stopping, still alive.

Without such a supervisor every call is nothing. The protocol: one datagram of NAME=value lines to `$NOTIFY_SOCKET`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

_SHARE = 4  # of the watchdog's time: so often we show that we live


class Service:
    """One process's line to its supervisor. For one thread.

    address    of the socket, `@` first for an abstract one; None: there is no supervisor
    watchdog   seconds after which it takes silence for a hang; None: it does not look
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._every = None if watchdog is None else watchdog / _SHARE
        self._next = 0.0

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Service:
        """The one that the environment names. It is taken out of there: what we start must not speak for us."""
        address = environ.pop("NOTIFY_SOCKET", None)
        limit, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = limit.isdigit() and pid in ("", str(os.getpid()))
        return cls(address, int(limit) / 1_000_000 if ours and int(limit) else None)

    @property
    def supervised(self) -> bool:
        return self._address is not None

    def ready(self, status: str) -> None:
        """All is set up, or set up anew after `reloading`. `status` is what `systemctl status` shows."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=stopping: no more claims, what runs has the grace")

    def alive(self) -> None:
        """To be called by the loop that must not hang, as often as it comes around."""
        if self._every is not None and (now := time.monotonic()) >= self._next:
            self._next = now + self._every
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto("\n".join(lines).encode(), self._address)
