"""A store a test, on every engine there is (`database` in tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from servers import HttpServer

from batchctl.engines.base import Engine
from batchctl.store import Store
from store.kit import Clock, Worker, scope
from store.sendkit import Office


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
    return database.query


@pytest.fixture
def office(store: Store, worker: Worker, clock: Clock, peek: Callable[..., Any], tmp_path: Path) -> Office:
    """Who announces and sends from that store; see sendkit.py."""
    return Office(store, worker, clock, peek, tmp_path)


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server
