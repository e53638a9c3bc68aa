"""A SQLite file as plain tables, to read them all or to fill them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from batchctl.engines.base import Row
from batchctl.engines.transfer import Column, Kind, Table

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*' ORDER BY name"
_ROWS = 2_000
_TYPES: dict[Kind, str] = {"integer": "INTEGER", "real": "REAL", "text": "TEXT", "blob": "BLOB"}


class SqliteTransfer:
    """`write` opens the transaction that everything happens in."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, write: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._path = path
        self._connection = connection
        self._write = write

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._write():
            yield

    def place(self) -> str:
        return f"sqlite {os.path.realpath(self._path)}"

    def tables(self) -> dict[str, Table]:
        return {name: self._table(name) for (name,) in self._connection.execute(_TABLES).fetchall()}

    def _table(self, name: str) -> Table:
        facts = self._connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        columns = tuple(self._column(name, column, declared) for column, declared, _ in facts)
        key = sorted((place, column) for column, _, place in facts if place)
        return Table("sqlite", name, columns, tuple(column for _, column in key))

    def _column(self, table: str, name: str, declared: str) -> Column:
        kind = _kind(declared)
        if kind is not None:
            return Column(name, kind, declared)
        sql = f"SELECT DISTINCT typeof({_quoted(name)}) FROM {_quoted(table)}"  # noqa: S608 - quoted names
        found = {kind for (kind,) in self._connection.execute(sql)} - {"null"}
        match sorted(found):
            case ["integer"]:
                return Column(name, "integer", declared)
            case ["real"] | ["integer", "real"]:
                return Column(name, "real", declared, cast=True)
            case ["blob"]:
                return Column(name, "blob", declared)
        return Column(name, "text", declared, cast=True)

    def count(self, table: Table) -> int:
        sql = f"SELECT count(*) FROM {_quoted(table.name)}"  # noqa: S608 - quoted names
        return int(self._connection.execute(sql).fetchone()[0])

    def rows(self, table: Table) -> Iterator[Row]:
        what = ", ".join(
            f"CAST({_quoted(one.name)} AS {_TYPES[one.kind]})" if one.cast else _quoted(one.name)
            for one in table.columns
        )
        yield from self._connection.execute(f"SELECT {what} FROM {_quoted(table.name)}")  # noqa: S608 - quoted names

    def make(self, table: Table) -> None:
        own = table.engine == "sqlite"
        parts = [f"{_quoted(one.name)} {one.declared if own else _TYPES[one.kind]}" for one in table.columns]
        if table.key:
            parts.append(f"PRIMARY KEY ({', '.join(map(_quoted, table.key))})")
        self._connection.execute(f"CREATE TABLE {_quoted(table.name)} ({', '.join(parts)})")

    def clear(self, table: Table) -> None:
        self._connection.execute(f"DELETE FROM {_quoted(table.name)}")  # noqa: S608 - quoted names

    def fill(self, table: Table, rows: Iterable[Row]) -> None:
        names = ", ".join(_quoted(one.name) for one in table.columns)
        places = ", ".join("?" * len(table.columns))
        sql = f"INSERT INTO {_quoted(table.name)} ({names}) VALUES ({places})"  # noqa: S608 - quoted names
        left = iter(rows)
        while part := list(islice(left, _ROWS)):
            self._connection.executemany(sql, part)

    def settle(self) -> None:
        """Nothing to do: no statement leans on statistics."""

    def counters(self) -> dict[str, int]:
        return {name: int(last) for name, last in self._connection.execute("SELECT name, seq FROM sqlite_sequence")}

    def count_on(self, last: Mapping[str, int]) -> None:
        for name, number in last.items():
            newest = max(number, self.counters().get(name, 0))
            self._connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            self._connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, newest))


def _kind(declared: str) -> Kind | None:
    """What a column of that declared type holds; None where only its values tell."""
    text = declared.upper()
    if "INT" in text:
        return "integer"
    if any(word in text for word in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if any(word in text for word in ("REAL", "FLOA", "DOUB")):
        return "real"
    return "blob" if "BLOB" in text else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
