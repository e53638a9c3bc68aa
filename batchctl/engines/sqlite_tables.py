"""Users' tables in a SQLite file. sqlite-utils makes and alters them; rows go in by one prepared statement."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchctl.engines.tables import Kind, Misfit, Unusable

if TYPE_CHECKING:
    from sqlite_utils import Database

# A BLOB column leaves every value as it is: what has shown no value yet must not turn numbers into text.
_TYPES: dict[Kind, Any] = {
    "integer": int,
    "number": float,
    "boolean": int,
    "text": str,
    "json": str,
    "null": "BLOB",
    "mixed": "BLOB",
}
_NUMERIC = ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL", "DATE")
_OF_ROWS = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
}
_LARGEST = 1 << 63


class SqliteTables:
    """Of one connection (isolation_level None)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._depth = 0

    @cached_property
    def _database(self) -> Database:
        from sqlite_utils import Database

        return Database(self._connection, recursive_triggers=False, execute_plugins=False)

    def fold(self, name: str) -> str:
        return name.lower() if name.isascii() else "".join(c.lower() if c.isascii() else c for c in name)

    def columns(self, table: str) -> dict[str, str] | None:
        found = self._connection.execute(
            "SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view', 'index')",
            (table,),
        ).fetchone()
        if found is None:
            return None
        if found[0] != "table":
            raise Unusable(f"{table} is no table but the name of {'an' if found[0] == 'index' else 'a'} {found[0]}")
        rows = self._connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
        return {name: kind.upper() for name, kind in rows}

    def keyed(self, table: str, pk: Sequence[str]) -> bool:
        wanted = {self.fold(name) for name in pk}
        rows = self._connection.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0", (table,))
        if {self.fold(name) for (name,) in rows} == wanted:
            return True
        unique = self._connection.execute(
            "SELECT l.name, i.name FROM pragma_index_list(?) l, pragma_index_info(l.name) i "
            'WHERE l."unique" = 1 AND l.partial = 0',
            (table,),
        )
        indexes: dict[str, set[str]] = {}
        for index, column in unique:
            indexes.setdefault(index, set()).add(self.fold(column or ""))
        return wanted in indexes.values()

    def reshape(self, table: str) -> None:
        """There is one writer at a time."""

    def create(self, table: str, columns: Mapping[str, Kind], pk: Sequence[str]) -> None:
        types = {name: _TYPES[columns[name]] for name in (*pk, *(name for name in columns if name not in pk))}
        self._database.table(table).create(types, pk=pk[0] if len(pk) == 1 else tuple(pk))

    def add_columns(self, table: str, columns: Mapping[str, Kind]) -> None:
        for name, kind in columns.items():
            self._database.table(table).add_column(name, _TYPES[kind])

    def add_index(self, table: str, columns: Sequence[str]) -> None:
        self._database.table(table).create_index(columns, if_not_exists=True)

    def upsert(
        self,
        table: str,
        types: Mapping[str, str],
        pk: Sequence[str],
        names: Sequence[str],
        rows: Iterable[Sequence[Any]],
    ) -> None:
        numeric = [any(word in types[name] for word in _NUMERIC) for name in names]
        sql = _upsert(table, pk, names)
        self._connection.executemany(
            sql, ([_value(v, n, name) for v, n, name in zip(row, numeric, names, strict=True)] for row in rows)
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        name = f"attempt_{self._depth}"
        self._connection.execute(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException as error:
            if self._connection.in_transaction:  # some errors end the whole transaction
                self._connection.execute(f"ROLLBACK TO {name}")
                self._connection.execute(f"RELEASE {name}")
                if (why := _of_rows(error)) is not None:
                    raise Misfit(why) from error
            raise
        else:
            self._connection.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1


def _upsert(table: str, pk: Sequence[str], names: Sequence[str]) -> str:
    rest = [name for name in names if name not in pk]
    change = f"UPDATE SET {', '.join(f'{_quoted(n)} = excluded.{_quoted(n)}' for n in rest)}" if rest else "NOTHING"
    return (
        f"INSERT INTO {_quoted(table)} ({', '.join(map(_quoted, names))}) VALUES ({', '.join('?' * len(names))}) "  # noqa: S608 - quoted names
        f"ON CONFLICT ({', '.join(map(_quoted, pk))}) DO {change}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(value: Any, numeric: bool, name: str) -> Any:
    match value:
        case bool():
            return int(value)
        case int() if not -_LARGEST <= value < _LARGEST:
            raise Misfit(f"{name}: {value} is too large a number")
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case str() if numeric and _would_change(value):
            raise Misfit(f"{name}: the column holds numbers, the text {value!r} would become another one")
        case _:
            return value


def _would_change(text: str) -> bool:
    """Whether a column of numbers would store another text: `00123` becomes 123."""
    try:
        number = float(text)
    except ValueError:
        return False
    return text not in (str(int(number)) if number.is_integer() else "", str(number))


def _of_rows(error: BaseException) -> str | None:
    """What is wrong with the rows; None where it is not about them."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return str(error) if code in _OF_ROWS else None
    if isinstance(error, UnicodeEncodeError):
        return "a text holds half a character (a lone surrogate), which no database stores"
    return str(error) if isinstance(error, OverflowError | ValueError) else None
