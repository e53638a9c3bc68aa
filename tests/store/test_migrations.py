"""The schema: as the migrations make it, checked by itself, refused where it is newer or something else's."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchctl.engines import sqlite, statements
from batchctl.errors import StoreCorrupt, StoreMissing, StoreTooNew
from batchctl.store import Store
from store.kit import Worker, load, scope

Peek = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def schema(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [number for number, _, _ in statements.migrations("sqlite")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_opening_again_changes_nothing(path: Path) -> None:
    Store.open(str(path), create=True).close()
    before = schema(path)
    Store.open(str(path), create=True).close()
    Store.open(str(path), create=False).close()
    assert schema(path) == before


def test_a_new_migration_runs_once_with_its_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(str(path), create=True).close()
    known = statements.migrations("sqlite")
    more = [*known, (len(known) + 1, "more", "CREATE TABLE more (x);\nINSERT INTO more VALUES (1);\n")]
    monkeypatch.setattr(sqlite, "migrations", lambda _: more)
    for _ in range(2):
        Store.open(str(path), create=False).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM more").fetchall() == [(1,)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(more),)


def test_a_migration_that_fails_leaves_the_store_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(str(path), create=True).close()
    before = schema(path)
    known = statements.migrations("sqlite")
    bad = [*known, (len(known) + 1, "bad", "CREATE TABLE more (x);\nCREATE TABLE more (x);\n")]
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "migrations", lambda _: bad)
        with pytest.raises(Exception, match="already exists"):
            Store.open(str(path), create=False)
    assert schema(path) == before
    Store.open(str(path), create=False).close()


def test_a_newer_store_is_refused_untouched(path: Path) -> None:
    Store.open(str(path), create=True).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew, match="newer"):
        Store.open(str(path), create=True)


def test_somebody_elses_database_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = schema(path)
    for create in (False, True):
        with pytest.raises(StoreCorrupt):
            Store.open(str(path), create=create)
    assert schema(path) == before


def test_there_is_no_store_until_somebody_makes_one(path: Path) -> None:
    with pytest.raises(StoreMissing):
        Store.open(str(path), create=False)
    assert not path.exists()


def test_the_store_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "queue.db"
    store = Store.open(str(path), create=True)
    load(store, 1)
    files = [path.parent, *path.parent.rglob("*")]
    open_to_others = [one.name for one in files if stat.S_IMODE(one.stat().st_mode) & 0o077]
    store.close()
    assert len(files) > 3
    assert open_to_others == []


def test_pragmas_that_cannot_be_mended_later(path: Path) -> None:
    Store.open(str(path), create=True).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_commits_are_on_the_disk_before_they_are_acknowledged(path: Path) -> None:
    store = Store.open(str(path), create=True)
    connection = store.engine._connection  # type: ignore[attr-defined]
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "state = 'elsewhere'",
        "state = 'completed'",
        "completed_at = 1",
        "state = 'waiting'",
        "state = 'waiting', waiting_for = 'boredom'",
        "state = 'processing'",
        "worker_id = 'w'",
    ],
)
def test_the_schema_itself_refuses_impossible_items(path: Path, change: str) -> None:
    store = Store.open(str(path), create=True)
    load(store, 1)
    store.close()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE items SET {change}")  # noqa: S608 - words from here


@pytest.mark.parametrize("change", ["status = 'elsewhere'", "status = 'completed'", "completed_at = 1", "priority = 9"])
def test_the_schema_itself_refuses_impossible_batches(path: Path, change: str) -> None:
    store = Store.open(str(path), create=True)
    load(store, 1)
    store.close()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE batches SET {change}")  # noqa: S608 - words from here


def test_the_plain_tables_can_be_read_while_work_goes_on(path: Path) -> None:
    store = Store.open(str(path), create=True)
    load(store, 2)
    worker = Worker(store, "w", scope("p"))
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
        worker.complete(worker.claim()[0])
        assert reader.execute("SELECT state, count(*) FROM items GROUP BY state ORDER BY state").fetchall() == [
            ("completed", 1),
            ("pending", 1),
        ]
    store.close()
