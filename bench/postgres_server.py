"""The PostgreSQL that benchmarks run on: durable, its data on the disk that is measured, a fresh database a run.

It is the server of the tests' wheel with settings of a small machine. BATCHCTL_BENCH_POSTGRES names another one: the
URL of a role that may create databases.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from batchctl.store import Store
from tests.postgres_server import Server

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "2GB",
    "max_connections": "100",
}


@dataclass(frozen=True, slots=True)
class Databases:
    """A server. `url` names a database from which others can be made."""

    url: str

    @contextmanager
    def fresh(self, *, store: bool = False) -> Iterator[str]:
        """The URL of a new database, with an empty store in it or with nothing; dropped in the end."""
        name = f"bench_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            url = urlunsplit(urlsplit(self.url)._replace(path=f"/{name}")).replace(":///", "://@/")
            if store:
                Store.open(url, create=True).close()
            yield url
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._execute("CHECKPOINT")  # what one run has left to write is not the next one's burden

    def version(self) -> str:
        return str(asked(self.url, "SHOW server_version"))

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql)


def asked(url: str, sql: str) -> Any:
    """The one value that a query answers with."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql).fetchone()
    return row[0] if row else None


@contextmanager
def databases(base: Path) -> Iterator[Databases]:
    """A server for one benchmark, its data below `base`; it is gone afterwards."""
    given = os.environ.get("BATCHCTL_BENCH_POSTGRES")
    if given:
        yield Databases(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-pg-", dir=base))
    folder.chmod(0o711)  # the server's own user has to get through
    server = Server(folder / "s")
    try:
        server.create()
        server.start(**SETTINGS)
        yield Databases(server.url())
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
