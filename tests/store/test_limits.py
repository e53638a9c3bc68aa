"""Promise 10 and flat claims, told by what the database does, not by the clock: plans, and steps of its machine."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from postgres_server import cluster

from batchctl.engines import postgres_sql, statements
from batchctl.engines.postgres import PostgresEngine
from batchctl.engines.sqlite import SqliteEngine
from batchctl.store import Store
from batchctl.transitions import bulk, loading, recovering
from store import kit
from store.kit import Worker, begin, load, orders

HOT = ("claiming", "control", "groups", "lanes", "loading", "recording", "workers")
# that no amount of work makes long
SMALL = {"processors", "paces", "workers", "json_each", "sqlite_sequence", "wanted"}
# partial indexes: as long as what is in hand now
HELD = {"items_held", "items_suspect", "lanes_held", "lanes_dirty", "ready_groups_relane"}
SHORT = HELD | {"batches_bulk", "batches_unfinished", "items_due", "ready_groups_open", "ready_groups_opening"}
SHORT |= {"items_rated", "lane_batches_open"}
ONCE = {"published_since"}  # what came since a load began
SIZED = {"remember_existing"}  # how PostgreSQL goes about it depends on what the tables hold


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("schema") / "queue.db"
    Store.open(str(path), create=True).close()
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def hot_statements() -> list[tuple[str, str]]:
    found = []
    for topic in HOT:
        text = (Path(statements.__file__).parent.parent / "sql" / "sqlite" / f"{topic}.sql").read_text("utf-8")
        names = re.findall(r"^-- name: (\w+)", text, re.MULTILINE)
        found += [(name, statements.statements("sqlite")[name]) for name in names]
    return found


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    names = set(re.findall(r"(?<!:):(\w+)", sql))
    params: Any = dict.fromkeys(names) if names else [None] * sql.count("?")
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", params)]


@pytest.mark.parametrize(("name", "sql"), [pytest.param(*one, id=one[0]) for one in hot_statements()])
def test_no_statement_of_the_hot_paths_walks_a_long_table(schema: sqlite3.Connection, name: str, sql: str) -> None:
    aliases = dict(re.findall(r"(?:FROM|JOIN)\s+(\w+)(?:\(.*?\))?\s+(\w)\b", sql))
    aliases = {short: long for long, short in aliases.items()}
    for step in plan(schema, sql):
        walked = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if walked is None or "CONSTANT ROW" in step or "VIRTUAL TABLE" in step:
            continue
        table, index = aliases.get(walked[1], walked[1]), walked[2]
        assert table in SMALL or index in HELD or name in ONCE, step


@pytest.fixture(scope="module")
def explained() -> Iterator[Callable[[str], dict[str, Any]]]:
    """The plan that PostgreSQL makes of a statement before it knows the parameters, as a write would run it."""
    with cluster().database() as url:
        engine = PostgresEngine(url)
        connection = engine._session.get()
        connection.execute("SET plan_cache_mode = force_generic_plan")

        def explain(name: str) -> dict[str, Any]:
            statement = postgres_sql.compiled()[name]
            count = len(set(re.findall(r"\$\d+", statement.sql)))
            values = f"({', '.join(['NULL'] * count)})" if count else ""
            with engine.write():
                connection.execute(f"PREPARE one AS {statement.sql}")
                row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE one{values}").fetchone()
                connection.execute("DEALLOCATE one")
            assert row is not None
            return row[0][0]["Plan"]  # type: ignore[no-any-return]

        yield explain
        engine.close()


def steps_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from steps_of(part)


@pytest.mark.parametrize("name", [one[0] for one in hot_statements()])
def test_no_statement_of_the_hot_paths_walks_a_long_table_of_postgres(
    explained: Callable[[str], dict[str, Any]], name: str
) -> None:
    for step in steps_of(explained(name)):
        table, index = step.get("Relation Name"), step.get("Index Name")
        walks = "Scan" in step["Node Type"] and table is not None and "Index Cond" not in step
        assert not walks or table in SMALL or index in SHORT or name in ONCE | SIZED, step


@contextmanager
def steps_of_writes(store: Store) -> Iterator[list[int]]:
    """What the database does in each transaction that writes: the steps (in hundreds) of SQLite's machine, the rows
    that PostgreSQL touches (how many dead index entries it meets depends on what else runs)."""
    whole, found = store.engine.write, list[int]()
    counted = _machine_steps if isinstance(store.engine, SqliteEngine) else _touched

    @contextmanager
    def write(*, shared: bool = False) -> Iterator[Any]:
        with whole(shared=shared) as tx:
            before = count()
            yield tx
            found.append(count() - before)

    with pytest.MonkeyPatch.context() as patch, counted(store) as count:
        patch.setattr(store.engine, "write", write)
        yield found


@contextmanager
def _machine_steps(store: Store) -> Iterator[Callable[[], int]]:
    connection: sqlite3.Connection = store.engine._connection  # type: ignore[attr-defined]
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(step, 100)
    yield lambda: steps
    connection.set_progress_handler(None, 0)


@contextmanager
def _touched(store: Store) -> Iterator[Callable[[], int]]:
    session = store.engine._session  # type: ignore[attr-defined]
    kinds = ("tuples_returned", "tuples_fetched", "tuples_inserted", "tuples_updated", "tuples_deleted")
    each = " + ".join(f"pg_stat_get_xact_{kind}(c.oid)" for kind in kinds)
    sql = (
        f"SELECT sum({each})::bigint FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"  # noqa: S608
    )
    yield lambda: session.get().execute(sql).fetchone()[0]


def queue_up(store: Store, count: int, **new: Any) -> int:
    act = begin(store, **new)
    rows = orders(count)
    for at in range(0, count, 5_000):
        act.add(rows[at : at + 5_000])
    return act.finish("content", again=True).batch_nos[0]


def claim_cost(store: Store, worker: Worker) -> int:
    with steps_of_writes(store) as steps:
        assert len(worker.claim(100)) == 100
    return steps[0]


# -- flat claims


def test_a_claim_costs_the_same_however_much_is_queued(store: Store, worker: Worker) -> None:
    queue_up(store, 300)
    few = claim_cost(store, worker)
    queue_up(store, 20_000, priority=kit.HIGH)
    assert claim_cost(store, worker) <= 1.2 * few


def test_a_claim_costs_the_same_behind_a_paused_batch(store: Store, worker: Worker) -> None:
    no = queue_up(store, 20_000)
    queue_up(store, 300)
    store.pause([no], None, "ann")
    behind = claim_cost(store, worker)
    store.cancel_batch(no, "ann")
    assert behind <= 1.2 * claim_cost(store, worker)


def test_a_claim_costs_the_same_beside_finished_work(store: Store, worker: Worker) -> None:
    queue_up(store, 300)
    before = claim_cost(store, worker)
    for no in load(store, 400, options={"split": 4}):
        store.cancel_batch(no, "ann")
    assert claim_cost(store, worker) <= 1.2 * before


def test_a_claim_costs_little_more_with_many_organizations(store: Store, worker: Worker) -> None:
    for n in range(12):
        load(store, 30, organization=f"few{n:03}", priority=kit.HIGH)
    few = claim_cost(store, worker)
    for n in range(300):
        load(store, 30, organization=f"many{n:03}", priority=kit.HIGH)
    assert claim_cost(store, worker) <= 2 * few


def test_recording_costs_the_same_beside_finished_batches(store: Store, worker: Worker) -> None:
    queue_up(store, 300)

    def cost() -> int:
        items = worker.claim(100)
        with steps_of_writes(store) as steps:
            worker.give_back(*items)
        return steps[0]

    before = cost()
    for no in load(store, 150, options={"split": 1}):
        store.cancel_batch(no, "ann")
    assert cost() <= 1.2 * before


# -- nothing holds the write lock for long


BULK: dict[str, Callable[[Store, Worker, int], object]] = {
    "cancel": lambda store, _, no: store.cancel_batch(no, "ann"),
    "cancel items": lambda store, _, no: store.cancel_items(_ids(store, no), "ann"),
    "retry": lambda store, _, no: (store.cancel_batch(no, "ann"), store.retry(no, "ann", states={"cancelled"})),
    "retry what is nowhere": lambda store, _, no: (
        store.cancel_batch(no, "ann"),
        store.retry(no, "ann", states={"cancelled"}, error="nowhere"),
    ),
    "recover": lambda store, worker, _: (
        worker.claim(1 << 30),
        recovering.release_worker(store.engine, worker.id, frozenset(), 3),
    ),
    "abort": lambda store, _, __: loading.abort_abandoned(store.engine),
    "remember": lambda store, _, __: load(store, ["other"], options={"skip_known": True}),
}


def _ids(store: Store, no: int) -> list[int]:
    with store.engine.read() as tx:
        return [row[0] for row in tx.all("loaded_items", {"no": no})]


@pytest.mark.parametrize("act", BULK)
def test_a_bulk_act_takes_more_commits_and_not_longer_ones(
    store: Store, worker: Worker, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bulk, recovering):
        monkeypatch.setattr(module, "_CHUNK", 200)
    for bound in ("_LEAST", "_FIRST", "_MOST"):
        monkeypatch.setattr(f"batchctl.transitions.deleting.{bound}", 200)
    monkeypatch.setattr("batchctl.transitions.known._CHUNK", 200)
    longest = []
    for size in (400, 4_000):
        no = queue_up(store, size)
        dead = begin(store)
        dead.add(orders(size))
        dead._leave()
        if act == "recover":
            monkeypatch.setattr(worker, "claim", _claim_quietly(worker))
        with steps_of_writes(store) as steps:
            BULK[act](store, worker, no)
        longest.append(max(steps))
        store.cancel_batch(no, "ann")
        loading.abort_abandoned(store.engine)
    assert longest[1] <= 1.3 * longest[0] + 5


def _claim_quietly(worker: Worker) -> Callable[[int], list[Any]]:
    """Claims in small commits, which are not what is measured."""

    def claim(limit: int) -> list[Any]:
        items: list[Any] = []
        while len(items) < limit and (more := Worker.claim(worker, 100)):
            items += more
        return items

    return claim


def test_a_split_into_tiny_batches_is_stored_in_several_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_PARTS", 20)
    act = begin(store, split=1)
    with steps_of_writes(store) as steps:
        act.add(orders(60))
    assert len(steps) >= 3
    act.abort()
