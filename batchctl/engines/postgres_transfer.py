"""A PostgreSQL database as plain tables, to read them all or to fill them: by COPY, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from psycopg import sql

from batchctl.engines.base import Row
from batchctl.engines.postgres_connection import Connection
from batchctl.engines.transfer import Column, Kind, Table

# A copy may take hours, and it reads whole tables.
_LONG = """
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on
"""
OWN = r"relname NOT LIKE 'store\_%'"  # what only this engine needs: store_migrations, store_tenants
_COLUMNS = f"""
SELECT c.relname, a.attname, t.typname, coalesce(array_position(k.conkey, a.attnum), 0),
       format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace AND {OWN}
ORDER BY c.relname COLLATE "C", a.attnum
"""  # noqa: S608 - no parameter
_NUMBERED = f"""
SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND {OWN}
"""  # noqa: S608 - no parameter
_PLACE = """
SELECT current_database(), (SELECT oid FROM pg_database WHERE datname = current_database())::text,
       (SELECT system_identifier FROM pg_control_system())::text
"""
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("float4", "float8"), "real"),
    **dict.fromkeys(("text", "varchar"), "text"),
    "bytea": "blob",
}
_TYPES: dict[Kind, str] = {"integer": "int8", "real": "float8", "text": "text", "blob": "bytea"}


class PostgresTransfer:
    """`write` opens the transaction that everything happens in, on the connection that `connection` then gives."""

    def __init__(self, write: Callable[[], AbstractContextManager[Any]], connection: Callable[[], Connection]) -> None:
        self._write = write
        self._connection = connection

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._write():
            self._connection().execute(_LONG)
            yield

    def place(self) -> str:
        row = self._connection().execute(_PLACE).fetchone()
        return f"postgresql {row}"

    def tables(self) -> dict[str, Table]:
        found: dict[str, list[Row]] = {}
        for table, *facts in self._connection().execute(_COLUMNS):
            found.setdefault(table, []).append(tuple(facts))
        return {name: _table(name, facts) for name, facts in found.items()}

    def count(self, table: Table) -> int:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.name))
        row = self._connection().execute(query).fetchone()
        return int(row[0]) if row else 0

    def rows(self, table: Table) -> Iterator[Row]:
        what = sql.SQL(", ").join(
            sql.SQL("{}::" + _TYPES[one.kind] if one.cast else "{}").format(sql.Identifier(one.name))
            for one in table.columns
        )
        query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(what, sql.Identifier(table.name))
        with self._connection().cursor() as cursor, cursor.copy(query) as copy:
            copy.set_types([_TYPES[one.kind] for one in table.columns])
            yield from copy.rows()

    def make(self, table: Table) -> None:
        own = table.engine == "postgres"
        parts = [
            sql.SQL("{} " + (one.declared if own else _TYPES[one.kind])).format(sql.Identifier(one.name))
            for one in table.columns
        ]
        if table.key:
            parts.append(sql.SQL("PRIMARY KEY ({})").format(_names(table.key)))
        self._connection().execute(
            sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table.name), sql.SQL(", ").join(parts))
        )

    def clear(self, table: Table) -> None:
        self._connection().execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))

    def fill(self, table: Table, rows: Iterable[Row]) -> None:
        names = _names([one.name for one in table.columns])
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
        with self._connection().cursor() as cursor, cursor.copy(query) as copy:
            for row in rows:
                copy.write_row(row)

    def settle(self) -> None:
        for name in self.tables():
            self._connection().execute(sql.SQL("ANALYZE {}").format(sql.Identifier(name)))

    def counters(self) -> dict[str, int]:
        return {table: self._last(sequence) for table, _, sequence in self._numbered()}

    def _numbered(self) -> list[Row]:
        return self._connection().execute(_NUMBERED).fetchall()

    def _last(self, sequence: str) -> int:
        """The sequence's name comes quoted from the server."""
        query = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM " + sequence  # noqa: S608
        row = self._connection().execute(query).fetchone()
        return int(row[0]) if row else 0

    def count_on(self, last: Mapping[str, int]) -> None:
        for table, column, sequence in self._numbered():
            names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "last": last.get(table, 0)}
            query = sql.SQL("SELECT greatest({last}, max({column})) FROM {table}").format(**names)
            row = self._connection().execute(query).fetchone()
            if row and row[0] and row[0] > self._last(sequence):
                self._connection().execute("SELECT setval($1::regclass, $2)", (sequence, row[0]))


def _table(name: str, facts: list[Row]) -> Table:
    columns = tuple(
        Column(column, _KINDS.get(kind, "text"), declared, cast=kind not in _KINDS)
        for column, kind, _, declared in facts
    )
    key = sorted((place, column) for column, _, place, _ in facts if place)
    return Table("postgres", name, columns, tuple(column for _, column in key))


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
