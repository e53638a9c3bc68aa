"""One connection that comes back: opened when it is needed, opened again after it was lost."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from batchctl.engines.postgres_errors import shown, store_error, unreachable
from batchctl.errors import StoreError, StoreInterrupted

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS = 10
# A session whose host is gone must not keep what it has locked: all others wait for that.
_SETTINGS = """
SET lock_timeout = '30s'; SET statement_timeout = '120s'; SET idle_in_transaction_session_timeout = '20s';
SET tcp_keepalives_idle = 6; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '15s'; SET jit = off; SET standard_conforming_strings = on; SET client_min_messages = warning
"""
_KEEPALIVE = {
    "keepalives_idle": 6,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_END_LEFTOVER = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid = $1 AND application_name = $2 AND datname = current_database()"
)


class Session:
    """`on_connect` is called with each new connection, before anybody else uses it."""

    def __init__(self, url: str, on_connect: Callable[[Connection], None]) -> None:
        self.url = url
        self._on_connect = on_connect
        self._connection: Connection | None = None
        self._name = f"batchctl {secrets.token_hex(6)}"  # tells what we have left behind from all others
        self._leftover: int | None = None

    def get(self) -> Connection:
        """The connection, opened where there is none. One attempt; raises a StoreError, a StoreInterrupted where it may
        work soon."""
        if self._connection is not None and self._connection.closed:
            self._forget(self._connection)
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    @property
    def current(self) -> Connection | None:
        """The connection as it is."""
        return self._connection if self.connected else None

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def drop(self) -> None:
        """Give up the connection, whatever state it is in."""
        if self._connection is not None:
            self._forget(self._connection)

    def _forget(self, connection: Connection) -> None:
        with suppress(psycopg.Error):
            self._leftover = connection.info.backend_pid or self._leftover
        connection.close()
        self._connection = None

    def _open(self) -> Connection:
        try:
            connection = psycopg.connect(
                self.url,
                autocommit=True,
                cursor_factory=psycopg.RawCursor,
                application_name=self._name,
                connect_timeout=CONNECT_SECONDS,
                client_encoding="UTF8",
                **_KEEPALIVE,  # type: ignore[arg-type]
            )
        except psycopg.Error as error:
            raise unreachable(self.url, error) from error
        try:
            self._prepare(connection)
        except psycopg.Error as error:
            connection.close()
            raise store_error(self.url, error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection) -> None:
        connection.prepare_threshold = 3
        connection.prepared_max = 500
        for dumper in (Int8Dumper, Int8BinaryDumper):  # one type for all: a statement is prepared once
            connection.adapters.register_dumper(int, dumper)
            connection.adapters.register_dumper(bool, dumper)
        connection.execute(_SETTINGS)
        if self._leftover is not None:  # it may still hold locks, and its transaction
            connection.execute(_END_LEFTOVER, (self._leftover, self._name))
            self._leftover = None
        self._on_connect(connection)

    def outcome(self, xid: str, patience: float) -> bool:
        """Whether the transaction of that number was committed; the connection was lost before the answer came. Tries
        for `patience` seconds to learn it. Raises StoreError where that can't be learned."""
        deadline, pause = time.monotonic() + patience, 0.02
        while True:
            status = None
            with suppress(StoreInterrupted, psycopg.Error):
                row = self.get().execute("SELECT pg_xact_status($1::xid8)", (xid,)).fetchone()
                status = row[0] if row else None
                if status is None or status in ("committed", "aborted"):
                    break
            if time.monotonic() > deadline:
                break
            time.sleep(pause)
            pause = min(1.0, pause * 2)
        if status in ("committed", "aborted"):
            return bool(status == "committed")
        raise StoreError(
            f"{shown(self.url)}: the connection was lost while the database stored a change, and it can't be asked "
            "whether it did",
            hint="look with `batchctl show` or `batchctl list` what came of it when the database is back",
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
