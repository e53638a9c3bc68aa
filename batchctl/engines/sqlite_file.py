"""Another SQLite file than the store: opened, locked and committed by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchctl.engines.filesystem import network_file_system
from batchctl.engines.sqlite_tables import SqliteTables
from batchctl.engines.tables import Busy, Unusable

_APPLICATION_ID = 0x62617463  # of a store


class SqliteFile:
    """`begin`, then `tables`, then `commit` or `roll_back`. Raises Unusable, Busy where another one has it locked.

    patience   seconds that `begin` waits for the lock
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        with self.translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind := network_file_system(path.parent):
                raise Unusable(f"{path}: lies on a network file system ({kind}), where a SQLite file gets damaged")
            self._connection = sqlite3.connect(
                path, timeout=patience, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            try:
                self._identity = _identity(path)
                if self._connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID:
                    raise Unusable(f"{path}: is the store of another queue")
                self._connection.execute("PRAGMA synchronous = FULL")
            except BaseException:
                self._connection.close()
                raise
        self.tables = SqliteTables(self._connection)

    @property
    def replaced(self) -> bool:
        """Whether another file (or none) has its name now."""
        return self._identity != _identity(self.path)

    def begin(self) -> None:
        with self.translated():
            self._connection.execute("BEGIN EXCLUSIVE")  # a reader must not hold up the commit

    def commit(self) -> None:
        """On disk when this returns."""
        with self.translated():
            self._connection.execute("COMMIT")

    def roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What the driver raises within, as Busy or Unusable."""
        try:
            yield
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from error
        except OSError as error:
            raise Unusable(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._connection.close()


def _trouble(path: Path, error: sqlite3.Error) -> Busy | Unusable:
    """What SQLite says of the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(f"{path}: another program has it locked")
    return Unusable(f"{path}: {error}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
