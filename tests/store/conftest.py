"""A store a test, on every engine there is; another engine joins by a line in ENGINES."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_server import cluster

from batchctl.engines.base import Engine
from batchctl.store import Store
from store.kit import Clock, Worker, scope


@dataclass
class Database:
    """One empty database of an engine: how to open it, and how a test looks into its tables."""

    url: str
    peek: Callable[..., list[tuple[Any, ...]]]

    def open(self) -> Store:
        return Store.open(self.url, create=True)


@contextmanager
def _sqlite(folder: Path) -> Iterator[Database]:
    path = folder / "queue.db"

    def peek(sql: str, *params: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, params).fetchall()

    yield Database(str(path), peek)


@contextmanager
def _postgres(folder: Path) -> Iterator[Database]:  # noqa: ARG001 - it lies on the server
    with cluster().database() as url:

        def peek(sql: str, *params: object) -> list[tuple[Any, ...]]:
            with psycopg.connect(url) as connection:
                return connection.execute(sql.replace("%", "%%").replace("?", "%s"), params).fetchall()

        yield Database(url, peek)


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Database]]] = {"sqlite": _sqlite}
if importlib.util.find_spec("batchctl.engines.postgres"):
    ENGINES["postgres"] = _postgres


@pytest.fixture(params=sorted(ENGINES))
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty store, migrated where that takes time; what an engine keeps on this host lies in the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with ENGINES[request.param](tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A fresh store whose clock is the test's."""
    store = database.open()
    monkeypatch.setattr(store.engine, "now", clock)
    yield store
    store.close()


@pytest.fixture
def engine(store: Store) -> Engine:
    return store.engine


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store, "w1", scope("p"))


@pytest.fixture
def peek(database: Database) -> Callable[..., list[tuple[Any, ...]]]:
    """Rows of plain tables, read as somebody with a database shell would."""
    return database.peek
