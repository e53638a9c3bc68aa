"""`store copy`: everything, between all engines, in one piece, and never while somebody works."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from databases import ENGINES, Database
from queuekit import Program, Queue
from store.kit import load
from stuffing import LEFT_OUT, content, stuff

from batchctl import moving
from batchctl.engines.sqlite_transfer import SqliteTransfer
from batchctl.engines.transfer import Table
from batchctl.errors import StoreCorrupt, UsageError
from batchctl.membership import Membership
from batchctl.model import BatchKind, Incoming, NewBatch

NAMES = ("FROM", "TO")
PAIRS = list(itertools.product(sorted(ENGINES), repeat=2))


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Database]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one, two = request.param
    with ENGINES[one](tmp_path, "one.db") as source, ENGINES[two](tmp_path, "two.db") as target:
        yield [source, target]


every_pair = pytest.mark.parametrize("pair", PAIRS, indirect=True, ids="-".join)
to_each = pytest.mark.parametrize("pair", [("sqlite", one) for one in sorted(ENGINES)], indirect=True, ids="-".join)
from_each = pytest.mark.parametrize("pair", [(one, "sqlite") for one in sorted(ENGINES)], indirect=True, ids="-".join)


def copy(pair: list[Database]) -> moving.Moved:
    source, target = pair[0].open(), pair[1].open()
    try:
        moving.get_ready(source.engine, NAMES[0])
        return moving.copy(source.engine, target.engine, NAMES, lambda *_: None)
    finally:
        source.close()
        target.close()


@every_pair
def test_everything_goes_along(pair: list[Database]) -> None:
    source, target = pair
    source.open().close()
    stuff(source)
    before = content(source)
    assert {table for table, rows in before.items() if not rows} == LEFT_OUT
    moved = copy(pair)
    assert content(target) == before == content(source)
    assert moved.tables == {table: len(rows) for table, rows in before.items()}


@every_pair
def test_numbers_go_on(pair: list[Database]) -> None:
    """Also past those whose rows are deleted."""
    store = pair[0].open()
    load(store, 3)
    load(store, 4)
    store.close()
    pair[0].change("DELETE FROM item_data WHERE item_id > 3")
    for table in ("items", "ready_groups", "events"):
        pair[0].change(f"DELETE FROM {table} WHERE batch_no = 2")  # noqa: S608
    pair[0].change("DELETE FROM batches WHERE no = 2")
    copy(pair)
    for database in pair:
        store = database.open()
        load(store, 1)
        store.close()
        assert database.query("SELECT max(no) FROM batches") == [(3,)]
        assert database.query("SELECT max(id) FROM items") == [(8,)]
    newest = [database.query("SELECT max(id) FROM events") for database in pair]
    assert newest[0] == newest[1]


@every_pair
def test_the_work_goes_on_there(pair: list[Database]) -> None:
    queue = Queue(pair[0].url)
    queue.add(5)
    done, failed = queue.claim(2)
    queue.complete(done, {"total": 7})
    queue.fail(failed)
    queue.close()
    moved = copy(pair)
    assert moved.unfinished == 3
    there = Queue(pair[1].url)
    assert [item.key for item in there.claim(9)] == ["k3", "k4", "k5"]
    assert there.store.retry(1, "ann") == 1
    there.close()


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_what_a_fresh_store_has_rows_in(engine: str, tmp_path: Path) -> None:
    with ENGINES[engine](tmp_path) as database:
        database.open().close()
        assert {table for table, rows in content(database).items() if rows} == moving.BORN_WITH_ROWS


# when it is refused


@from_each
def test_not_while_a_worker_lives(pair: list[Database]) -> None:
    store = pair[0].open()
    load(store, 1)
    with Membership(store.engine, 60.0, 1, ["p"]) as member, pytest.raises(UsageError) as refused:
        copy(pair)
    store.close()
    assert any(member.id in detail for detail in refused.value.details)
    assert copy(pair).tables["items"] == 1


@from_each
def test_not_while_something_is_enqueued(pair: list[Database]) -> None:
    store = pair[0].open()
    loading = store.load(NewBatch(kind=BatchKind.ORDERS, processor="p"))
    loading.add([Incoming(key="k1", position=1, payload="{}", where="orders.csv:1")])
    with pytest.raises(UsageError) as refused:
        copy(pair)
    loading.abort()
    store.close()
    assert refused.value.details == ["batches that are loaded or deleted: 1"]


@from_each
def test_not_while_a_message_is_sent(pair: list[Database]) -> None:
    pair[0].open().close()
    stuff(pair[0], 1)
    pair[0].change("UPDATE outbox SET state = 'sending'")
    with pytest.raises(UsageError) as refused:
        copy(pair)
    assert refused.value.details == ["messages on their way: 1"]


@from_each
def test_what_a_dead_worker_held_goes_back_first(pair: list[Database]) -> None:
    queue = Queue(pair[0].url)
    queue.add(2)
    queue.claim(1)
    queue.close()
    copy(pair)
    assert pair[1].query("SELECT DISTINCT state FROM items") == [("pending",)]


@to_each
def test_not_into_a_store_that_is_used(pair: list[Database]) -> None:
    for database in pair:
        store = database.open()
        load(store, 2)
        store.close()
    before = content(pair[1])
    with pytest.raises(UsageError, match=r"not empty.*batches"):
        copy(pair)
    assert content(pair[1]) == before


@from_each
def test_not_into_itself(pair: list[Database]) -> None:
    source = pair[0]
    source.open().close()
    again = Database(**{field: getattr(source, field) for field in source.__dataclass_fields__})
    if source.path is not None:
        (source.path.parent / "link.db").symlink_to(source.path)
        object.__setattr__(again, "url", str(source.path.parent / "link.db"))
    else:
        object.__setattr__(again, "url", source.url + "&application_name=other")
    with pytest.raises(UsageError, match="same database"):
        copy([source, again])


@every_pair
def test_nobody_else_writes_meanwhile(pair: list[Database], monkeypatch: pytest.MonkeyPatch) -> None:
    store = pair[0].open()
    load(store, 2)
    store.close()
    monkeypatch.setattr(moving, "_TOLD", 1)
    free = []

    def progress(done: int, _everything: int) -> None:
        if done == 1:
            free.extend(may_write(database) for database in pair)

    source, target = pair[0].open(), pair[1].open()
    moving.copy(source.engine, target.engine, NAMES, progress)
    source.close()
    target.close()
    assert free == [False, False]
    assert [may_write(database) for database in pair] == [True, True]


def may_write(database: Database) -> bool:
    if database.path is None:
        with psycopg.connect(database.url) as connection:
            row = connection.execute("SELECT pg_try_advisory_xact_lock(1650553955, 1)").fetchone()
            return bool(row and row[0])
    with closing(sqlite3.connect(database.path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


# what may happen on the way


@every_pair
def test_an_interrupted_copy_leaves_nothing_and_may_be_done_again(
    pair: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair[0].open().close()
    stuff(pair[0])
    monkeypatch.setattr(moving, "_TOLD", 1)
    source, target = pair[0].open(), pair[1].open()
    empty = content(pair[1])

    def stop(done: int, everything: int) -> None:
        if done == everything * 2 // 3:  # in the midst of comparing
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        moving.copy(source.engine, target.engine, NAMES, stop)
    source.close()
    target.close()
    assert content(pair[1]) == empty
    copy(pair)
    assert content(pair[1]) == content(pair[0])


@pytest.mark.parametrize("pair", [("sqlite", "sqlite"), ("postgres", "sqlite")], indirect=True, ids="-".join)
@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_a_copy_that_differs_is_taken_back(pair: list[Database], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair[0].open().close()
    stuff(pair[0])
    fill = SqliteTransfer.fill

    def badly(self: SqliteTransfer, table: Table, rows: Iterable[Any]) -> None:
        found = list(rows)
        if table.name == "item_data":
            place = [one.name for one in table.columns].index("payload")
            found[1] = (*found[1][:place], "other", *found[1][place + 1 :])
        fill(self, table, found[1:] if fault == "lost" else found)

    monkeypatch.setattr(SqliteTransfer, "fill", badly)
    with pytest.raises(StoreCorrupt, match="instead of" if fault == "lost" else "item_data differs"):
        copy(pair)
    assert {table for table, rows in content(pair[1]).items() if rows} == moving.BORN_WITH_ROWS


def test_a_nul_character(tmp_path: Path) -> None:
    with ENGINES["sqlite"](tmp_path) as source, ENGINES["postgres"](tmp_path) as target:
        source.open().close()
        stuff(source, 1)
        source.change("UPDATE attempt_logs SET text = ?", "a\0b\0")
        assert copy([source, target]).replaced == 1
        assert target.query("SELECT text FROM attempt_logs") == [("a␀b␀",)]


@every_pair
def test_tables_of_users(pair: list[Database]) -> None:
    pair[0].open().close()
    pair[0].change('CREATE TABLE "My jobs" (uuid TEXT, account_id BIGINT, price REAL, "PRIMARY KEY" TEXT, '
                   "PRIMARY KEY (account_id, uuid))")  # fmt: skip
    rows = [("a", 1, 2.5, None), ("b", 1, 0.0, "x"), ("a", 2, None, "")]
    for row in rows:
        pair[0].change('INSERT INTO "My jobs" VALUES (?, ?, ?, ?)', *row)
    copy(pair)
    assert pair[1].query('SELECT * FROM "My jobs" ORDER BY account_id, uuid') == sorted(
        rows, key=lambda row: (row[1], row[0])
    )
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)):
        pair[1].change('INSERT INTO "My jobs" VALUES (?, ?, ?, ?)', *rows[0])


def test_a_table_whose_values_are_of_many_kinds(tmp_path: Path) -> None:
    """SQLite does not mind."""
    with ENGINES["sqlite"](tmp_path) as source, ENGINES["postgres"](tmp_path) as target:
        source.open().close()
        source.change("CREATE TABLE jobs (id INTEGER PRIMARY KEY, mixed, wide, whole)")
        source.change("INSERT INTO jobs VALUES (1, 'a', 1, 1), (2, 2, 1.5, 2), (3, NULL, NULL, NULL)")
        copy([source, target])
        assert target.query("SELECT * FROM jobs ORDER BY id") == [
            (1, "a", 1.0, 1),
            (2, "2", 1.5, 2),
            (3, None, None, None),
        ]


# the command


def test_the_command(program: Program, tmp_path: Path) -> None:
    program.queue.add(2)
    program.queue.complete(program.queue.claim(1)[0])
    here, there = str(program.queue.url), str(tmp_path / "there.db")
    done = program("store", "copy", here, there)
    assert "both stores hold the same" in done.out
    assert f"store: {there}" in done.err
    assert "done twice" in done.err
    assert json.loads(program("--store", there, "list", "--json").out)["total"] == 1
    refused = program("store", "copy", here, there, code=2)
    assert "is not empty" in refused.err
    assert "hint: " in refused.err


def test_the_command_pauses_what_it_has_copied(program: Program, tmp_path: Path) -> None:
    program.queue.add(1)
    there = str(tmp_path / "there.db")
    done = program("store", "copy", program.queue.url, there, "--pause", "--json").json
    assert (done["verified"], done["paused"], done["unfinished_items"]) == (True, True, 1)
    assert done["rows"] == sum(done["tables"].values())
    assert program.queue.claim(1) == []
    assert [item.key for item in Queue(there).claim(1)] == ["k1"]


def test_the_command_leaves_no_target_where_it_is_refused(program: Program, tmp_path: Path) -> None:
    with Membership(program.queue.store.engine, 60.0, 1, ["p"]):
        refused = program("store", "copy", program.queue.url, tmp_path / "there.db", code=2)
    assert "work is going on" in refused.err
    assert not (tmp_path / "there.db").exists()


def test_the_command_makes_no_store_to_copy_from(program: Program, tmp_path: Path) -> None:
    program("store", "copy", tmp_path / "none.db", tmp_path / "there.db", code=4)
    assert not (tmp_path / "none.db").exists()
    assert not (tmp_path / "there.db").exists()
