"""Hosts for the tests: network namespaces with a real network between them, and a PostgreSQL that all of them reach."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postgres_server import Server


def why_not() -> str | None:
    """Why no network of our own can be made here."""
    if os.geteuid():
        return "network namespaces need root"
    for program in ("ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"there is no `{program}`"
    trial = ["unshare", "--net", "ip", "link", "add", "net0", "type", "veth", "peer", "name", "net1"]
    tried = subprocess.run(trial, check=False, capture_output=True)
    return None if tried.returncode == 0 else f"no network namespace: {tried.stderr.decode().strip()}"


@dataclass(frozen=True)
class Host:
    """A network namespace, held by the process `pid`.

    name   its BATCHCTL_HOST_ID
    link   our end of its cable
    url    the server as it is seen from there
    """

    name: str
    pid: int
    link: str
    url: str

    @property
    def inside(self) -> list[str]:
        """Put before a command: it runs on that host."""
        return ["nsenter", f"--target={self.pid}", "--net", "--"]

    def cut_off(self) -> None:
        """Pull the cable."""
        _ip("link", "set", self.link, "down")

    def back(self) -> None:
        _ip("link", "set", self.link, "up")


@contextmanager
def own_server() -> Iterator[Server]:
    """A server that is made and not started; it is stopped in the end."""
    folder = Path(tempfile.mkdtemp(prefix="bctl-", dir="/tmp"))
    folder.chmod(0o711)  # for the user that the server runs as
    server = Server(folder / "server")
    try:
        server.create()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


@contextmanager
def network(names: list[str]) -> Iterator[tuple[str, list[Host]]]:
    """The URL of a server as we see it, and hosts, each on a cable of its own to it."""
    net, mark = f"10.213.{secrets.randbelow(256)}", secrets.token_hex(3)  # our own, inside this machine
    holders: list[subprocess.Popen[bytes]] = []
    with own_server() as server:
        with (server.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {net}.0/24 scram-sha-256\n")
        server.start(listen_addresses="*")
        url, found = server.url(tcp=True), list[Host]()
        try:
            for n, name in enumerate(names):
                holders.append(subprocess.Popen(["unshare", "--net", "sleep", "infinity"]))
                ours, theirs = f"{net}.{4 * n + 1}", f"{net}.{4 * n + 2}"
                host = Host(name, holders[-1].pid, f"b{mark}{n}", url.replace("127.0.0.1", ours))
                _plug_in(host, ours, theirs)
                found.append(host)
            yield url, found
        finally:
            for holder in holders:  # the cables go with them
                holder.kill()
                holder.wait()


def _plug_in(host: Host, ours: str, theirs: str) -> None:
    _namespace_of(host.pid)
    _ip("link", "add", host.link, "type", "veth", "peer", "name", "net0", "netns", str(host.pid))
    _ip("addr", "add", f"{ours}/30", "dev", host.link)
    _ip("link", "set", host.link, "up")
    there = (("addr", "add", f"{theirs}/30", "dev", "net0"), ("link", "set", "net0", "up"), ("link", "set", "lo", "up"))
    for words in there:
        subprocess.run([*host.inside, "ip", *words], check=True)


def _namespace_of(pid: int) -> None:
    """Wait until the process has its own."""
    ours = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        pass


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
