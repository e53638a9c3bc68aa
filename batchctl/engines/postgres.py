"""PostgreSQL 14 or later: READ COMMITTED writes in two kinds, snapshots, presence, notifications, the server's clock.

An ordinary write has the store for itself, as with SQLite: it holds an advisory lock of the store. The hot path (claim,
record, heartbeat, loading) holds that lock shared and leans on row locks; docs/architecture.md has the order of waits.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import psycopg
from psycopg import pq

from batchctl.announce import Announcer
from batchctl.engines import postgres_folder
from batchctl.engines import presence as marks
from batchctl.engines.again import SHORT, again, patiently
from batchctl.engines.base import Engine, Row
from batchctl.engines.postgres_connection import Connection, Session
from batchctl.engines.postgres_errors import shown, translated
from batchctl.engines.postgres_migrations import check_version, migrate
from batchctl.engines.postgres_transfer import PostgresTransfer
from batchctl.engines.postgres_tx import PostgresTx
from batchctl.engines.postgres_upkeep import PostgresUpkeep
from batchctl.errors import StoreCorrupt, StoreError

_OLDEST = 140_000  # as the server gives its version
_KEY = 1650553955  # "batc": the first number of our advisory locks; 1: the store, 2: groups and turns
_LOCK = {False: f"pg_advisory_xact_lock({_KEY}, 1)", True: f"pg_advisory_xact_lock_shared({_KEY}, 1)"}
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
# Every statement of a write goes along the index that has its order: a plan that was made while a table was small must
# stay right.
_OFF = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort", "incremental_sort")
_PLANS = "; ".join(f"SET LOCAL enable_{way} = off" for way in _OFF)
_BEGIN = {shared: f"BEGIN; {_PLANS}; SELECT {lock}; {_CLOCK}" for shared, lock in _LOCK.items()}
_READ = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0"
)
_HELD = (
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND ((classid::bigint << 32) | objid::bigint) = $1 LIMIT 1"
)
_LISTEN = "LISTEN batchctl"
_STEP = 20  # ms by which two readings of the server's clock may differ for the way they took
_POLL = 1.0  # seconds after which something may have changed though nobody was heard
_PATIENCE = 60.0  # seconds to ask what became of a COMMIT whose answer was lost


class PostgresPresence:
    """A kernel lock on this host, and a lock in the database for the others."""

    def __init__(self, engine: PostgresEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._local = marks.Presence(engine.private_folder(), name)
        try:
            engine.hold(name)
        except BaseException:
            self._local.leave()
            raise

    def leave(self) -> None:
        self._engine.let_go(self._name)
        self._local.leave()


class PostgresEngine:
    """One connection to the database of a URL; it comes back by itself after it was lost. `create` makes the tables."""

    leased = True
    poll = 0.05

    def __init__(self, url: str, *, create: bool = False, readonly: bool = False, upgrade: bool = False) -> None:
        self.url = url
        self.version_before: int | None = None
        self._upgrade = upgrade
        self._readonly = readonly
        self._create = create
        self._offset: int | None = None
        self._heard = 0
        self._names: Counter[str] = Counter()
        self._folder: Path | None = None
        self._known = False
        self._shared = False  # whether the open write is
        self._begun_on: Connection | None = None  # that of the open transaction
        self._session = Session(url, self._on_connect)
        self._tx = PostgresTx(self._session_in_use, self._part)
        try:
            with translated(url):
                self._session.get()
        except BaseException:
            self._session.close()
            raise

    def _on_connect(self, connection: Connection) -> None:
        connection.add_notify_handler(self._hear)
        if not self._known:
            if connection.info.server_version < _OLDEST:
                found = connection.info.server_version // 10_000
                hint = "upgrade the server, or name another"
                raise StoreError(f"{shown(self.url)}: needs PostgreSQL 14 or later, this is {found}", hint=hint)
            row = connection.execute("SELECT current_setting('server_encoding')").fetchone()
            if row and row[0] != "UTF8":
                raise StoreCorrupt(
                    f"{shown(self.url)}: the database's encoding is {row[0]}, and a store needs UTF8",
                    hint="create a database with `createdb --encoding=UTF8 --template=template0`",
                )
            self.version_before = migrate(connection, self.url, create=self._create, upgrade=self._upgrade)
            self._known = True
        if not self._readonly:
            connection.execute(_LISTEN)
        for name in self._names:
            connection.execute("SELECT pg_advisory_lock_shared($1)", (_number(name),))
        self._read_clock(connection)
        self._heard += 1  # what others did while there was no connection was not heard

    def _session_in_use(self) -> Connection:
        """The connection of the open transaction; a lost one is not replaced under it."""
        connection = self._session.current
        # A question asked meanwhile (`alive`) may have opened another, on which nothing has begun.
        if connection is None or (self._begun_on is not None and connection is not self._begun_on):
            raise psycopg.OperationalError("the connection is closed")
        return connection

    # transactions

    @contextmanager
    def write(self, *, shared: bool = False) -> Iterator[PostgresTx]:
        with translated(self.url):
            self._begin_write(shared=shared)
            try:
                yield self._tx
                self._commit()
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._begun_on = None

    def announce_with(self, announcer: Announcer | None) -> None:
        self._tx.announcer = announcer

    def _begin_write(self, *, shared: bool) -> None:
        cursor = self._begin(_BEGIN[shared])
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        if row is not None:
            self._set_clock(row[0])
        self._begun_on, self._shared = self._session.current, shared

    def _begin(self, sql: str) -> psycopg.Cursor[Row]:
        """Nothing has happened yet: where the old connection turns out to be dead, a new one begins."""
        fresh = not self._session.connected
        try:
            return self._session.get().execute(sql)
        except psycopg.OperationalError:
            if fresh or self._session.connected:
                self._roll_back()
                raise
        return self._session.get().execute(sql)

    def _commit(self) -> None:
        """Returns where the transaction is stored for good, raises where nothing of it is."""
        connection = self._session_in_use()
        row = connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
        xid = row[0] if row else None
        try:
            connection.execute("COMMIT")
        except psycopg.OperationalError:
            if xid is None or not connection.closed or not self._session.outcome(xid, _PATIENCE):
                raise

    def _part(self) -> None:
        self._commit()
        self._begin_write(shared=self._shared)

    def _roll_back(self) -> None:
        connection = self._session.current
        if connection is None or connection.info.transaction_status == pq.TransactionStatus.IDLE:
            return
        if connection.info.transaction_status == pq.TransactionStatus.ACTIVE:  # in the middle of a COPY or a statement
            self._session.drop()
            return
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self._session.drop()

    @contextmanager
    def read(self) -> Iterator[PostgresTx]:
        # Inside our own transaction: its view is the right one, and where it is lost, all of it is.
        within = self._begun_on is not None
        with translated(self.url, within=within):
            if within:
                yield self._tx
                return
            self._begin(_READ)
            self._begun_on = self._session.current
            try:
                yield self._tx
            finally:
                self._begun_on = None
                self._roll_back()

    def _in_transaction(self) -> bool:
        connection = self._session.current
        return connection is not None and connection.info.transaction_status != pq.TransactionStatus.IDLE

    # the clock

    def now(self) -> int:
        assert self._offset is not None
        return self._offset + _awake()

    def _read_clock(self, connection: Connection) -> None:
        begun = _awake()
        row = connection.execute(_CLOCK).fetchone()
        took = _awake() - begun
        if row is not None:
            self._set_clock(row[0] + took // 2)

    def _set_clock(self, server: int) -> None:
        offset = server - _awake()
        if self._offset is None or abs(offset - self._offset) > _STEP:
            self._offset = offset

    # who lives

    def presence(self, name: str) -> PostgresPresence:
        return PostgresPresence(self, name)

    @again
    def hold(self, name: str) -> None:
        """Take the database's lock of that name; with every new connection again."""
        with translated(self.url):
            self._begin("SELECT pg_advisory_lock_shared($1)".replace("$1", str(_number(name))))
        self._names[name] += 1

    def let_go(self, name: str) -> None:
        self._names -= Counter([name])
        connection = self._session.current
        if connection is not None:
            with suppress(psycopg.Error):
                connection.execute("SELECT pg_advisory_unlock_shared($1)", (_number(name),))

    @again
    def alive(self, name: str) -> bool:
        folder = self.private_folder()
        if marks.alive(folder, name):
            return True
        if self.local(name):
            return False
        with translated(self.url):
            held = self._begin(_HELD.replace("$1", str(_number(name)))).fetchone()
        return held is not None

    def take(self, name: str, facts: str) -> marks.Presence | None:
        return marks.take(self.private_folder(), name, facts)

    def holder(self, name: str) -> str | None:
        return marks.holder(self.private_folder(), name)

    def local(self, name: str) -> bool:
        return marks.known(self.private_folder(), name)

    def private_folder(self) -> Path:
        if self._folder is None:
            self._folder = postgres_folder.private_folder(self.url)
        return self._folder

    # changes of others

    def changed(self) -> int:
        connection = self._session.current
        if connection is not None and not self._in_transaction():
            with suppress(psycopg.Error):
                connection.pgconn.consume_input()
                while note := connection.pgconn.notifies():
                    self._heard += note.be_pid != connection.info.backend_pid
        return self._heard * 1_000_000_000 + int(time.monotonic() / _POLL)

    def _hear(self, note: psycopg.Notify) -> None:
        connection = self._session.current
        self._heard += connection is None or note.pid != connection.info.backend_pid

    def check_version(self) -> None:
        with translated(self.url):
            check_version(self._session.get(), self.url)

    def reader(self) -> Engine:
        return patiently(lambda: PostgresEngine(self.url, readonly=True), SHORT)

    def upkeep(self) -> PostgresUpkeep:
        return PostgresUpkeep(self.url, self._session.get)

    def transfer(self) -> PostgresTransfer:
        return PostgresTransfer(self.write, self._session_in_use)

    def close(self) -> None:
        self._session.close()


def _awake() -> int:
    """Milliseconds of a clock that only goes forward, also while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _number(name: str) -> int:
    """The name of a presence as the number of an advisory lock."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
