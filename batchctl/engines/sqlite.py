"""SQLite: WAL with synchronous=FULL, BEGIN IMMEDIATE for writes, driver errors translated at this border."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from batchctl.announce import Announcer
from batchctl.engines.base import Params, Row
from batchctl.engines.fairlock import FairLock
from batchctl.engines.filesystem import network_file_system
from batchctl.engines.presence import Presence, alive, holder, take
from batchctl.engines.sqlite_tables import SqliteTables
from batchctl.engines.sqlite_transfer import SqliteTransfer
from batchctl.engines.sqlite_upkeep import SqliteUpkeep
from batchctl.engines.statements import migrations, overtaken, statements
from batchctl.engines.tables import Tables
from batchctl.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreTooNew

BUSY_SECONDS = 30.0
_BULK_ROWS = 500
_SMALLEST = 65_536  # bytes that the shared-memory file of WAL mode may need
_APPLICATION_ID = 0x62617463  # "batc": tells a store from any other SQLite file


class SqliteTx:
    """Runs named statements on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.announcer: Announcer | None = None
        self.tables: Tables = SqliteTables(connection)
        self._connection = connection
        self._sql = statements("sqlite")

    def all(self, name: str, params: Params = ()) -> list[Row]:
        return self._connection.execute(self._sql[name], params).fetchall()

    def one(self, name: str, params: Params = ()) -> Row | None:
        cursor = self._connection.execute(self._sql[name], params)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    def value(self, name: str, params: Params = ()) -> Any:
        row = self.one(name, params)
        return row[0] if row else None

    def dicts(self, name: str, params: Params = ()) -> list[dict[str, Any]]:
        cursor = self._connection.execute(self._sql[name], params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def stream(self, name: str, params: Params = ()) -> Iterable[Row]:
        return self._connection.execute(self._sql[name], params)

    def run(self, name: str, params: Params = ()) -> int:
        return self._connection.execute(self._sql[name], params).rowcount

    def many(self, name: str, rows: Iterable[Params]) -> int:
        return self._connection.executemany(self._sql[name], rows).rowcount

    def bulk(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        changed = 0
        for start in range(0, len(rows), _BULK_ROWS):
            part = rows[start : start + _BULK_ROWS]
            sql = _repeated(self._sql[name], len(part))
            changed += self._connection.execute(sql, list(chain.from_iterable(part))).rowcount
        return changed

    def reserve_item_ids(self, count: int) -> int:  # noqa: ARG002 - other engines must say how many
        return int(self.value("next_item_id"))

    def part(self) -> bool:
        return False  # the write lock is ours until the end: nobody waits for us in another order


class SqliteEngine:
    """One connection to a store file. `create` makes the file (0600) and its folder where they are missing."""

    leased = False
    poll = 0.25

    def __init__(self, path: Path, *, create: bool = False, readonly: bool = False) -> None:
        self.path = path
        self.version_before: int | None = None
        self._readonly = readonly
        if not readonly:
            _refuse_network(path)
        with _translated(path):
            if create:
                with _files_translated(path):
                    _create(path)
            self._connection = _connect(path, readonly=readonly)
            self._lock: FairLock | None = None
            try:
                if not readonly:
                    self._lock = FairLock(run_folder(path))
                self._migrate(create=create)
            except BaseException:
                self._connection.close()
                raise
            self._tx = SqliteTx(self._connection)

    def _migrate(self, *, create: bool) -> None:
        known = migrations("sqlite")
        have = self._connection.execute("PRAGMA user_version").fetchone()[0]
        newest = known[-1][0]
        self.version_before = have or None
        if have > newest:
            raise StoreTooNew(
                f"{self.path}: made by a newer batchctl (store version {have}, this one knows {newest})",
                hint="upgrade batchctl on this machine",
            )
        if have == newest:
            return
        if have == 0 and not create:
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            what = "has no batchctl tables" if tables else "is empty"
            raise StoreCorrupt(f"{self.path}: {what}", hint="name another file, or let `batchctl init` make a store")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            have = self._connection.execute("PRAGMA user_version").fetchone()[0]
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if have == 0 and tables:
                raise StoreCorrupt(f"{self.path}: is a database of something else", hint="name another file")
            for number, _, script in known:
                if number > have:
                    for statement in _split(script):
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA user_version = {number:d}")
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID:d}")
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def write(self, *, shared: bool = False) -> Iterator[SqliteTx]:  # noqa: ARG002 - there is one writer at a time
        with _translated(self.path), self._turn():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._tx
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def announce_with(self, announcer: Announcer | None) -> None:
        self._tx.announcer = announcer

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        if not self._lock.acquire(BUSY_SECONDS):
            raise _locked(self.path)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def read(self) -> Iterator[SqliteTx]:
        with _translated(self.path):
            if self._connection.in_transaction:  # inside our own transaction: its view is the right one
                yield self._tx
                return
            self._connection.execute("BEGIN")
            try:
                yield self._tx
            finally:
                self._connection.execute("ROLLBACK")

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def reader(self) -> SqliteEngine:
        return SqliteEngine(self.path, readonly=True)

    def presence(self, name: str) -> Presence:
        return Presence(run_folder(self.path), name)

    def alive(self, name: str) -> bool:
        return alive(run_folder(self.path), name)

    def take(self, name: str, facts: str) -> Presence | None:
        return take(run_folder(self.path), name, facts)

    def holder(self, name: str) -> str | None:
        return holder(run_folder(self.path), name)

    def local(self, name: str) -> bool:  # noqa: ARG002 - a file store is this host's
        return True

    def private_folder(self) -> Path:
        return run_folder(self.path)

    def changed(self) -> int:
        """A number that differs once another connection has committed."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def check_version(self) -> None:
        have, known = self._connection.execute("PRAGMA user_version").fetchone()[0], migrations("sqlite")[-1][0]
        if have > known:
            raise overtaken(str(self.path), have, known)

    def upkeep(self) -> SqliteUpkeep:
        return SqliteUpkeep(self.path, self._connection, self._writing)

    def transfer(self) -> SqliteTransfer:
        return SqliteTransfer(self.path, self._connection, self.write)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _translated(self.path), self._turn():
            yield

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.close()


def _refuse_network(path: Path) -> None:
    """SQLite loses its locks there, and then data."""
    folder = next((parent for parent in path.parents if parent.is_dir()), path.parent)
    if kind := network_file_system(folder):
        raise StoreError(
            f"{path}: lies on a network file system ({kind}), where a SQLite file gets damaged",
            hint="name a file on a local disk as the store, or share the work by PostgreSQL: `store: postgresql://…`",
        )


def run_folder(path: Path) -> Path:
    """The folder of locks and marks beside the store, made (0700) where it is missing and can be."""
    folder = path.with_name(path.name + ".run")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def _repeated(statement: str, count: int) -> str:
    """One INSERT of `count` rows: SQLite then runs without the interpreter's lock between the rows."""
    head, _, tail = statement.partition("VALUES")
    row, conflict, rest = tail.partition("ON CONFLICT")
    return f"{head}VALUES {','.join([row.strip()] * count)} {conflict}{rest}"


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(fd)


def _connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    mode = "ro" if readonly else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    try:
        if not readonly:
            # Only while the file is empty: there it takes effect, later it would only take the write lock.
            if not connection.execute("PRAGMA page_count").fetchone()[0]:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _split(script: str) -> Iterator[str]:
    """Single statements; `executescript` would commit what is open."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(path, error) from error


@contextmanager
def _files_translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _file_error(path, error) from error


def _file_error(path: Path, error: OSError) -> StoreError:
    """What the file system says of the store's file or folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{path}: no space left on its disk", hint="free some space, then run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "check the owner and mode of its folder, or name another store"
        return StoreReadOnly(f"{path}: cannot be made here ({error.strerror})", hint=hint)
    return StoreError(
        f"{path}: cannot be made or opened ({error.strerror})", hint="check the path, or name another store"
    )


def _locked(path: Path) -> StoreLocked:
    return StoreLocked(
        f"{path}: another process has held the write lock for over {BUSY_SECONDS:.0f} s",
        hint="see who it is with `batchctl workers` or `fuser`, then try again",
    )


def _store_error(path: Path, error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and _disk_is_full(path):
        code = sqlite3.SQLITE_FULL  # what SQLite needs beside the file did not fit
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _locked(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreReadOnly(
                f"{path}: may not be written", hint="check the owner and mode of the file and its folder"
            )
        case sqlite3.SQLITE_FULL:
            return StoreFull(f"{path}: no space left on its disk", hint="free some space, then run the command again")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(
                f"{path}: not a batchctl store, or damaged ({error})",
                hint="restore a backup, or save what can be read with `sqlite3 FILE .recover`",
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR:
            return StoreError(
                f"{path}: cannot be opened or read ({error})", hint="check the path, its folder and the disk"
            )
    if isinstance(error, sqlite3.OperationalError):
        return StoreError(f"{path}: {error}")
    return error


def _disk_is_full(path: Path) -> bool:
    """Not even the smallest of SQLite's files would fit."""
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < _SMALLEST
    return False
