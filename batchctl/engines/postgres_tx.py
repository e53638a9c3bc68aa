"""Runs named statements on a PostgreSQL session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from batchctl.announce import Announcer
from batchctl.engines.base import Params, Row
from batchctl.engines.postgres_connection import Connection
from batchctl.engines.postgres_sql import compiled
from batchctl.engines.postgres_tables import PostgresTables
from batchctl.engines.tables import Tables

_FEW = 50  # rows below which COPY is not worth a savepoint
_STREAM_ROWS = 1_000
_NAMED_BY_PEOPLE = {"insert_items"}  # a NUL character in a key is refused; in what programs print it is replaced


class PostgresTx:
    """One transaction; `part` commits it and begins the next."""

    def __init__(self, connection: Callable[[], Connection], part: Callable[[], None]) -> None:
        self.announcer: Announcer | None = None
        self.tables: Tables = PostgresTables(connection)
        self._get = connection
        self._part = part
        self._copies: bool | None = None
        self._statements = compiled()

    def _execute(self, name: str, params: Params) -> psycopg.Cursor[Row]:
        statement = self._statements[name]
        return self._run(statement.sql, statement.values(params))

    def _run(self, sql: str, values: Sequence[Any]) -> psycopg.Cursor[Row]:
        try:
            return self._get().execute(sql, values)
        except psycopg.DataError as error:
            if error.sqlstate is not None:
                raise
            return self._get().execute(sql, [_without_nul(value) for value in values])  # refused before it was sent

    def all(self, name: str, params: Params = ()) -> list[Row]:
        return self._execute(name, params).fetchall()

    def one(self, name: str, params: Params = ()) -> Row | None:
        return self._execute(name, params).fetchone()

    def value(self, name: str, params: Params = ()) -> Any:
        row = self.one(name, params)
        return row[0] if row else None

    def dicts(self, name: str, params: Params = ()) -> list[dict[str, Any]]:
        cursor = self._execute(name, params)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def stream(self, name: str, params: Params = ()) -> Iterable[Row]:
        statement = self._statements[name]
        with psycopg.RawServerCursor(self._get(), "stream_" + name) as cursor:
            cursor.itersize = _STREAM_ROWS
            cursor.execute(statement.sql, statement.values(params))
            yield from cursor

    def run(self, name: str, params: Params = ()) -> int:
        return max(0, self._execute(name, params).rowcount)

    def many(self, name: str, rows: Iterable[Params]) -> int:
        statement = self._statements[name]
        values = [[_without_nul(value) for value in statement.values(row)] for row in rows]
        if not values:
            return 0
        with self._get().cursor() as cursor:
            cursor.executemany(statement.sql, values)
            return max(0, cursor.rowcount)

    def bulk(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0
        statement = self._statements[name]
        few = statement.may_conflict and len(rows) < _FEW
        if statement.copy is None or few or not self._may_copy():
            return self._insert(name, rows)
        if not statement.may_conflict:
            return self._copy(statement.copy, rows)
        try:  # mostly none is there before, and COPY is twice as fast
            with self._get().transaction():
                return self._copy(statement.copy, rows)
        except (psycopg.errors.UniqueViolation, psycopg.DataError):
            return self._insert(name, rows)

    def _may_copy(self) -> bool:
        """COPY is refused to roles that have policies to obey (`store roles --rls`)."""
        if self._copies is None:
            row = self._get().execute("SELECT row_security_active('items')").fetchone()
            self._copies = not (row and row[0])
        return self._copies

    def _insert(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        columns = [list(column) for column in zip(*rows, strict=True)]
        run = self._get().execute if name in _NAMED_BY_PEOPLE else self._run
        return max(0, run(self._statements[name].sql, columns).rowcount)

    def _copy(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        with self._get().cursor() as cursor:
            with cursor.copy(sql) as copy:
                for row in rows:
                    copy.write_row(row)
            return cursor.rowcount

    def reserve_item_ids(self, count: int) -> int:
        return int(self.value("next_item_id", {"count": count}))

    def part(self) -> bool:
        self._part()
        return True


def _without_nul(value: Any) -> Any:
    """What commands and servers print may hold NUL characters, which PostgreSQL can't store."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") if "\0" in value else value
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    return value
