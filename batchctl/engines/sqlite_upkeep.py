"""Looking after a SQLite file: its size, pages that are free again, the write-ahead log, a copy while work goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

from batchctl.errors import StoreCorrupt, StoreFull, UsageError

_PAGES = 1_000  # copied at once: nobody waits for it, but progress is told in between
_FIRST = 100  # pages given back at first; then as many as take about _STEP
_STEP = 0.05  # seconds
_STUBBORN = 5  # steps without success
_CHECKPOINT_WAIT = 200  # ms


class SqliteUpkeep:
    """Of one connection; `turn` is the fair lock of those who write."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, turn: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._path = path
        self._connection = connection
        self._turn = turn

    def space(self) -> tuple[int | None, int | None]:
        """Bytes that the store takes, and bytes that are free on its disk."""
        size = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                size += self._path.with_name(self._path.name + suffix).stat().st_size
        return size, shutil.disk_usage(self._path.parent).free

    def examine(self) -> list[str]:
        """What is damaged: every page and index entry is looked at, about a second for a gigabyte."""
        try:
            found = [str(row[0]) for row in self._connection.execute("PRAGMA quick_check(10)")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def about(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}, store version {self._number('user_version')}"

    def server(self) -> None:
        return None

    def shrink(self, seconds: float) -> bool:
        """Give free pages back to the disk for about so many seconds, in steps that hold the lock for a moment each.
        True where there is nothing left to give back."""
        deadline, pages, stuck = time.monotonic() + seconds, _FIRST, 0
        while left := self._number("freelist_count"):
            if time.monotonic() >= deadline or stuck > _STUBBORN:
                return False
            took = self._vacuum(pages)
            if self._number("freelist_count") < left:
                pages, stuck = max(_FIRST, min(10_000, round(pages * _STEP / max(took, _STEP / 4)))), 0
            else:  # a full disk: SQLite stops without a word where the log has no room left
                pages, stuck = max(1, pages // 4), stuck + 1
                self.flush()
        self.flush()
        return True

    def _vacuum(self, pages: int) -> float:
        """How many seconds it took."""
        with self._turn():
            began = time.monotonic()
            self._connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
            return time.monotonic() - began

    def flush(self) -> None:
        """Bring the write-ahead log into the file and cut both, where no reader or writer is in the way."""
        patience = self._number("busy_timeout")
        self._connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WAIT:d}")
        try:
            with suppress(sqlite3.OperationalError):  # what could not be done now is done by somebody's next commit
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {patience:d}")

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """A consistent copy at `target`, an empty file, checked whole; `progress` is told (done, all) in pages.

        Writers go on meanwhile: the copy is of the moment in which it began. Raises StoreCorrupt where the copy, and so
        the store, is damaged, and StoreFull where it does not fit.
        """
        try:
            found = self._copy(target, progress)
        except sqlite3.Error as error:
            raise self._failed(target, error) from error
        if found != ["ok"]:
            raise StoreCorrupt(
                f"{self._path}: the copy is damaged, and so the store is: {found[0]}",
                hint="keep your last good backup; save what can be read with `sqlite3 FILE .recover`",
            )
        fd = os.open(target, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def roles(self, prefix: str, rows: bool | None, tenants: Sequence[str]) -> str:  # noqa: ARG002 - there are none
        raise UsageError(
            f"{self._path}: a file has no roles: whoever may read it reads all of it",
            hint="`batchctl store copy` carries it over to PostgreSQL, which has them",
        )

    def _copy(self, target: Path, progress: Callable[[int, int], None]) -> list[str]:
        """What the check of the copy says: ["ok"], or what is wrong."""
        source = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        with closing(source), closing(sqlite3.connect(target, isolation_level=None)) as copy:
            source.execute("BEGIN")  # one snapshot from the first page to the last, whoever commits meanwhile
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(copy, pages=_PAGES, progress=lambda _, left, pages: progress(pages - left, pages))
            source.execute("ROLLBACK")
            copy.execute("PRAGMA journal_mode = DELETE")  # one file is all there is of it
            return [str(row[0]) for row in copy.execute("PRAGMA integrity_check(10)")]

    def _failed(self, target: Path, error: sqlite3.Error) -> Exception:
        from batchctl.engines.sqlite import _store_error

        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return StoreFull(f"{target.parent}: no space left for the copy", hint="name a file on another disk")
        return _store_error(self._path, error)
