"""A server that is not there when a command starts: workers wait for it, and what will not pass by itself is told."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from urllib.parse import urlsplit, urlunsplit

import pytest
from conftest import Cli
from postgres_proxy import Proxy
from postgres_server import cluster

_STARTING_UP = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"


@pytest.fixture
def url() -> Iterator[str]:
    with cluster().database(tcp=True) as url:
        yield url


def at_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}"
    return urlunsplit(parts._replace(netloc=place, query="sslmode=disable&gssencmode=disable"))


def server_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def said(process: subprocess.Popen[str], words: str) -> str:
    """What it says up to that."""
    assert process.stderr is not None
    text = ""
    while words not in text:
        line = process.stderr.readline()
        assert line, text
        text += line
    return text


def refuse_one(listener: socket.socket) -> None:
    """As a server does that is about to be there."""
    client, _ = listener.accept()
    with closing(client):
        client.recv(4096)
        client.sendall(b"E" + (len(_STARTING_UP) + 4).to_bytes(4, "big") + _STARTING_UP)
        with suppress(OSError):
            client.recv(1)


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("server", ["not there", "starting up"])
def test_a_worker_waits_for_the_server(cli: Cli, url: str, command: str, server: str) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    if server == "starting up":
        listener.listen()
    cli.config("processors:\n  p: {command: [echo, hi]}\nworker: {min_free: 0}\n")
    cli.ok("enqueue", "orders", "--id", "1", "-p", "p", "--store", url)
    worker = cli.start("--store", at_port(url, listener.getsockname()[1]), "-v", command)
    if server == "starting up":
        refuse_one(listener)
    told = said(worker, "trying again")
    assert ("starting up" if server == "starting up" else "refused") in told
    proxy = Proxy(server_of(url), listener)
    out, err = worker.communicate(timeout=60)
    proxy.close()
    assert worker.returncode == 0, out + err
    assert cli.json("show", "latest", "--store", url)["summary"]["completed"] == 1


@pytest.mark.parametrize("command", [("init",), ("store", "copy", "old.db"), ("store", "upgrade"), ("list",)])
def test_a_command_asks_for_a_moment(cli: Cli, url: str, command: tuple[str, ...]) -> None:
    """A server that is about to be there is there soon."""
    listener = socket.create_server(("127.0.0.1", 0))
    way = at_port(url, listener.getsockname()[1])
    cli.ok("enqueue", "orders", "--id", "1", "--store", "old.db", "--", "echo", "hi")
    started = cli.start(
        "--store", "old.db" if "copy" in command else way, *command, *([way] if "copy" in command else [])
    )
    refuse_one(listener)
    proxy = Proxy(server_of(url), listener)
    out, err = started.communicate(timeout=60)
    proxy.close()
    assert started.returncode == 0, out + err


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_what_will_not_pass_is_not_tried_again(cli: Cli, url: str, wrong: str) -> None:
    proxy = Proxy(server_of(url))
    parts = urlsplit(at_port(url, proxy.port))
    if parts.password is None:
        pytest.skip("the server that BATCHCTL_TEST_POSTGRES names wants no password")
    changed = (
        parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":wrong@"))
        if wrong == "password"
        else parts._replace(path="/not_there")
    )
    done = cli.run("--store", urlunsplit(changed), "-v", "run")
    proxy.close()
    assert done.returncode == 5, done.stderr
    assert "trying again" not in done.stderr
    assert proxy.connections == 1
