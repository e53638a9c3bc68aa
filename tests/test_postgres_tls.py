"""TLS options of a store's URL, against a server that speaks TLS with a certificate of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from urllib.parse import quote, urlsplit

import pytest
from conftest import Cli
from postgres_server import cluster

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class TlsFront:
    """The test server behind TLS: it says yes to the client's question for it, and passes all on."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.certificate = folder / "server.pem"
        key = folder / "server.key"
        subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        files = ("-keyout", key, "-out", self.certificate)
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
        subprocess.run(command, check=True, capture_output=True)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(self.certificate, key)
        self._behind = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        self.port = self._server.sockets[0].getsockname()[1]
        self.encrypted = 0

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            if first == _SSL_REQUEST:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._context)
                self.encrypted += 1
                first = b""
            onward, back = await asyncio.open_connection(*self._behind)
            back.write(first)
            await asyncio.gather(self._pass(reader, back), self._pass(onward, writer))
        writer.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        target.close()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@pytest.fixture
def database() -> Iterator[str]:
    with cluster().database(tcp=True) as url:
        yield url


@pytest.fixture
def front(database: str, tmp_path: Path) -> Iterator[TlsFront]:
    parts = urlsplit(database)
    front = TlsFront(tmp_path, parts.hostname or "127.0.0.1", parts.port or 5432)
    yield front
    front.close()


def through(front: TlsFront, database: str, options: str, host: str = "localhost") -> str:
    """The URL of the database behind TLS."""
    parts = urlsplit(database)
    login = parts.netloc.rpartition("@")[0]
    address = "&hostaddr=127.0.0.1" if host != "127.0.0.1" else ""
    return f"postgresql://{login}@{host}:{front.port}{parts.path}?{options}{address}"


def test_a_certificate_that_is_known(cli: Cli, front: TlsFront, database: str) -> None:
    known = f"sslmode=verify-full&sslrootcert={quote(str(front.certificate), safe='')}"
    url = through(front, database, known)
    assert cli.json("list", "--store", url)["total"] == 0
    assert front.encrypted == 1
    checks = json.loads(cli.run("doctor", "--store", url, "--json").stdout)["checks"]
    assert [(one["level"], one["text"]) for one in checks if one["name"] == "encryption"] == [
        ("ok", "the way to the server is encrypted")
    ]


@pytest.mark.parametrize("fault", ["unknown", "other host"])
def test_a_certificate_that_is_not_right(cli: Cli, front: TlsFront, database: str, fault: str) -> None:
    if fault == "unknown":
        other = cli.folder / "other.pem"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            cli.folder / "k",
        ]
        subprocess.run([*command, "-out", other], check=True, capture_output=True)
        url = through(front, database, f"sslmode=verify-full&sslrootcert={quote(str(other), safe='')}")
    else:
        known = f"sslmode=verify-full&sslrootcert={quote(str(front.certificate), safe='')}"
        url = through(front, database, known, host="127.0.0.1")
    done = cli.run("list", "--store", url)
    assert done.returncode == 5
    assert "certificate" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert str(urlsplit(database).password) not in done.stderr


def test_tls_that_the_server_does_not_offer(cli: Cli, database: str) -> None:
    done = cli.run("list", "--store", f"{database}?sslmode=require")
    if done.returncode == 0:
        pytest.skip("the server that BATCHCTL_TEST_POSTGRES names offers TLS")
    assert done.returncode == 5
    assert "does not support SSL" in done.stderr
