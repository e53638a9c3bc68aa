"""A store a test, on every engine there is; another engine joins by a line in ENGINES."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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


def _sqlite(folder: Path) -> Database:
    path = folder / "queue.db"

    def peek(sql: str, *params: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, params).fetchall()

    return Database(str(path), peek)


ENGINES: dict[str, Callable[[Path], Database]] = {"sqlite": _sqlite}


@pytest.fixture(params=sorted(ENGINES))
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return ENGINES[request.param](tmp_path)


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
