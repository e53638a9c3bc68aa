"""Users' tables in PostgreSQL. Values go as text and are cast to what the column holds, whoever made the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from batchctl.engines.postgres_connection import Connection
from batchctl.engines.tables import Kind, Misfit, Unusable

_TYPES: dict[Kind, str] = {
    "integer": "numeric",  # the next value may have a fraction, or be larger than any integer type
    "number": "numeric",
    "boolean": "boolean",
    "text": "text",
    "json": "jsonb",
    "null": "text",
    "mixed": "text",
}
_LONGEST = 63  # bytes of a name: the server would cut the rest
_LOCK = 1650553956  # "batd": the first number of the locks of tables that change their shape
_WITHOUT_LENGTH = {"character": "bpchar", "bit": "varbit"}  # these words alone mean a length of one
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a
WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_RELATION = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(quote_ident($1))"
_UNIQUE = """
SELECT array_agg(a.attname::text) FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::smallint[])
WHERE i.indrelid = to_regclass(quote_ident($1)) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND i.indexprs IS NULL
GROUP BY i.indexrelid
"""
_INDEXED = "SELECT 1 FROM pg_class WHERE oid = to_regclass(quote_ident($1))"


class PostgresTables:
    """Of the session's open transaction."""

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._get = connection

    def fold(self, name: str) -> str:
        return name

    def columns(self, table: str) -> dict[str, str] | None:
        found = self._get().execute(_RELATION, (table,)).fetchone()
        if found is None:
            return None
        if found[0] not in ("r", "p", "f"):
            raise Unusable(f"{table} is no table but something else of that name")
        rows = self._get().execute(_COLUMNS, (table,)).fetchall()
        return {name: _WITHOUT_LENGTH.get(kind, str(kind)) for name, kind in rows}

    def keyed(self, table: str, pk: Sequence[str]) -> bool:
        return any(set(names) == set(pk) for (names,) in self._get().execute(_UNIQUE, (table,)))

    def reshape(self, table: str) -> None:
        self._get().execute("SELECT pg_advisory_xact_lock($1::integer, hashtext($2))", (_LOCK, table))

    def create(self, table: str, columns: Mapping[str, Kind], pk: Sequence[str]) -> None:
        parts = [f"{_quoted(name)} {_TYPES[kind]}" for name, kind in columns.items()]
        key = ", ".join(map(_quoted, pk))
        self._run(f"CREATE TABLE {_quoted(table)} ({', '.join(parts)}, PRIMARY KEY ({key}))")

    def add_columns(self, table: str, columns: Mapping[str, Kind]) -> None:
        parts = [f"ADD COLUMN {_quoted(name)} {_TYPES[kind]}" for name, kind in columns.items()]
        self._run(f"ALTER TABLE {_quoted(table)} {', '.join(parts)}")

    def add_index(self, table: str, columns: Sequence[str]) -> None:
        name = f"idx_{table}_{'_'.join(columns)}".encode()[:_LONGEST].decode(errors="ignore")
        if self._get().execute(_INDEXED, (name,)).fetchone() is None:
            self.reshape(table)
            keys = ", ".join(map(_quoted, columns))
            self._run(f"CREATE INDEX IF NOT EXISTS {_quoted(name)} ON {_quoted(table)} ({keys})")

    def _run(self, sql: str) -> None:
        self._get().execute(sql, prepare=False)

    def upsert(
        self,
        table: str,
        types: Mapping[str, str],
        pk: Sequence[str],
        names: Sequence[str],
        rows: Iterable[Sequence[Any]],
    ) -> None:
        kinds = [types[name] for name in names]
        values = [[_text(v, kind) for v, kind in zip(row, kinds, strict=True)] for row in rows]
        with self._get().cursor() as cursor:
            cursor.executemany(_upsert(table, pk, names, kinds), values)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        try:
            with self._get().transaction():
                yield
        except psycopg.Error as error:
            if self._get().closed:
                raise
            code = error.sqlstate or ""
            if code == "42501":
                raise Unusable(_said(error)) from error
            if code[:2] in _OF_ROWS or (not code and isinstance(error, psycopg.DataError)):
                raise Misfit(_said(error)) from error
            raise


# data, integrity, checks of a view, names and syntax, limits, features, a trigger's RAISE
_OF_ROWS = {"22", "23", "44", "42", "54", "0A", "P0"}


def _said(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0]


def _upsert(table: str, pk: Sequence[str], names: Sequence[str], kinds: Sequence[str]) -> str:
    rest = [name for name in names if name not in pk]
    change = f"UPDATE SET {', '.join(f'{_quoted(n)} = excluded.{_quoted(n)}' for n in rest)}" if rest else "NOTHING"
    values = [f"${n}::text::{kind}" for n, kind in enumerate(kinds, 1)]
    return (  # quoted names and the types of the server's catalog
        f"INSERT INTO {_quoted(table)} ({', '.join(map(_quoted, names))}) VALUES ({', '.join(values)}) "  # noqa: S608 - see above
        f"ON CONFLICT ({', '.join(map(_quoted, pk))}) DO {change}"
    )


def _quoted(name: str) -> str:
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        raise Misfit(f"{name[:40]}…: a name of more than {_LONGEST} bytes is no column's")
    if not name or "\0" in name:
        raise Misfit(f"{name!r} is no name of a column")
    return '"' + name.replace('"', '""') + '"'


def _text(value: Any, kind: str) -> str | None:
    """As the server reads it."""
    if value is None:
        return None
    if kind in ("json", "jsonb"):
        return json.dumps(value)
    match value:
        case str():
            return _encodable(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case _:
            return _encodable(json.dumps(value, ensure_ascii=False))


def _encodable(text: str) -> str:
    if "\0" in text:
        raise Misfit("a text holds a NUL character, which PostgreSQL can't store")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Misfit("a text holds half a character (a lone surrogate), which no database stores") from None
    return text
