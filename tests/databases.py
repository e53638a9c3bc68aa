"""Every kind of database that a store can be in: an empty one for a test, and eyes on its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from postgres_server import cluster

from batchctl.store import Store

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Database:
    """An empty database of one engine. `path` is its file, where it is one; SQL has `?` for its parameters. `eyes` is
    `query` on a connection that stays open."""

    engine: str
    url: str
    path: Path | None
    query: Callable[..., Rows]
    change: Callable[..., None]
    eyes: Callable[[], AbstractContextManager[Callable[..., Rows]]]

    def open(self) -> Store:
        return Store.open(self.url, create=True)


@contextmanager
def sqlite(folder: Path, name: str = "queue.db") -> Iterator[Database]:
    path = folder / name

    def query(sql: str, *params: object) -> Rows:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql, params).fetchall()

    def change(sql: str, *params: object) -> None:
        with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            connection.execute(sql, params)

    @contextmanager
    def eyes() -> Iterator[Callable[..., Rows]]:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            yield lambda sql, *params: connection.execute(sql, params).fetchall()

    yield Database("sqlite", str(path), path, query, change, eyes)


@contextmanager
def postgres(folder: Path, name: str = "") -> Iterator[Database]:  # noqa: ARG001 - it lies on the server
    with cluster().database() as url:
        yield at(url)


def at(url: str, eyes_url: str | None = None) -> Database:
    """The database of that URL; `eyes_url`: how tests reach it, where that is another way."""
    way = eyes_url or url

    def query(sql: str, *params: object) -> Rows:
        with psycopg.connect(way) as connection:
            return connection.execute(_placed(sql), params).fetchall()  # type: ignore[call-overload,no-any-return]

    def change(sql: str, *params: object) -> None:
        with psycopg.connect(way) as connection:
            connection.execute(_placed(sql), params)  # type: ignore[call-overload]

    @contextmanager
    def eyes() -> Iterator[Callable[..., Rows]]:
        with psycopg.connect(way, autocommit=True) as connection:
            yield lambda sql, *params: connection.execute(_placed(sql), params).fetchall()  # type: ignore[call-overload]

    return Database("postgres", url, None, query, change, eyes)


def _placed(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


ENGINES: dict[str, Callable[..., AbstractContextManager[Database]]] = {"sqlite": sqlite, "postgres": postgres}
