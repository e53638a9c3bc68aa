"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchctl.service import Service


@pytest.fixture(params=["file", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        address = str(tmp_path / "notify") if request.param == "file" else f"@batchctl-{os.getpid()}-{tmp_path.name}"
        line.bind("\0" + address[1:] if address.startswith("@") else address)
        line.settimeout(10)
        yield line, address


def test_it_says_how_it_is(supervisor: tuple[socket.socket, str]) -> None:
    line, address = supervisor
    environ = {"NOTIFY_SOCKET": address, "OTHER": "stays"}
    service = Service.of(environ)
    assert environ == {"OTHER": "stays"}
    assert service.supervised
    service.ready("3 slots")
    assert line.recv(1000) == b"READY=1\nSTATUS=3 slots"
    service.reloading()
    first, second = line.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")
    service.stopping()
    assert line.recv(1000).startswith(b"STOPPING=1\n")
    service.alive()  # nobody looks
    service.ready("last")
    assert line.recv(1000).endswith(b"last")


@pytest.mark.parametrize(("whose", "sent"), [("nobody's", True), ("ours", True), ("another's", False)])
def test_the_watchdog_of_this_process_hears_it(supervisor: tuple[socket.socket, str], whose: str, sent: bool) -> None:
    line, address = supervisor
    pid = {"nobody's": "", "ours": str(os.getpid()), "another's": "1"}[whose]
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "180000000"} | ({"WATCHDOG_PID": pid} if pid else {})
    service = Service.of(environ)
    assert environ == {}
    service.alive()
    service.alive()  # too soon for a second one
    service.ready("")
    expected = [b"WATCHDOG=1"] if sent else []
    heard = [line.recv(1000)]
    while heard[-1] != b"READY=1\nSTATUS=":
        heard.append(line.recv(1000))
    assert heard[:-1] == expected


def test_without_a_supervisor_nothing_is_said() -> None:
    service = Service.of({})
    assert not service.supervised
    service.ready("x")
    service.alive()
    gone = Service("/nowhere/at/all", 1.0)
    gone.ready("x")
    gone.alive()
