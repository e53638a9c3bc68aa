"""Orders from JSON Lines into a store on PostgreSQL, beside bare COPY of the same rows into the same tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psycopg

from bench import orders
from bench.harness import Contender, Goal, Sample, Versus
from bench.postgres_server import Databases
from bench.program import NOOP, Program

COUNT = 100_000
SAME = "COPY, same tables"
ONE = "COPY, one table"


def benchmark(count: int, server: Databases) -> Versus:
    return Versus(
        name="postgres-enqueue",
        title=f"PostgreSQL: enqueue {count:,} orders from JSON Lines",
        count=count,
        unit="orders",
        contenders=[
            Contender(SAME, partial(same_tables, count=count, server=server)),
            Contender(ONE, partial(one_table, count=count, server=server)),
            Contender("batchctl", partial(batchctl, count=count, server=server)),
        ],
        goals=[Goal("batchctl", (SAME,), 0.4), Goal("batchctl", (ONE,), None)],
    )


def batchctl(folder: Path, count: int, server: Databases) -> Sample:
    """`seconds` leaves out what the same command takes for a single order: its start and its end."""
    with server.fresh(store=True) as url:
        program = Program(folder)
        program.configure(NOOP, store=url)
        orders.write(folder / "one.jsonl", 1)
        orders.write(folder / "orders.jsonl", count)
        single = ("enqueue", "orders", "one.jsonl", "-p", "noop", "--again")
        alone = min(program.run(*single).seconds for _ in range(3))
        done = program.run("enqueue", "orders", "orders.jsonl", "-p", "noop")
        assert done.answer["batch"]["total_items"] == count
        work = done.seconds - alone
        return Sample(work if work > 0 else done.seconds, done.seconds)


def same_tables(folder: Path, count: int, server: Databases) -> Sample:  # noqa: ARG001 - its rows are in memory
    """Two COPYs in one transaction into batchctl's own tables, with their indexes, checks and defaults."""
    with server.fresh(store=True) as url, psycopg.connect(url) as connection:
        items = [(n, 1, n, f"A{n:08d}") for n in range(1, count + 1)]
        data = list(enumerate(orders.texts(count), 1))
        began = time.perf_counter()
        _copy(connection, "COPY items (id, batch_no, position, key) FROM STDIN", items)
        _copy(connection, "COPY item_data (item_id, payload) FROM STDIN", data)
        connection.commit()
        return Sample(time.perf_counter() - began)


def one_table(folder: Path, count: int, server: Databases) -> Sample:  # noqa: ARG001 - its rows are in memory
    """The orders into one table under their ids."""
    with server.fresh() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, payload TEXT NOT NULL)")
        rows = [(f"A{n:08d}", text) for n, text in enumerate(orders.texts(count), 1)]
        began = time.perf_counter()
        _copy(connection, "COPY orders (id, payload) FROM STDIN", rows)
        return Sample(time.perf_counter() - began)


def _copy(connection: psycopg.Connection[tuple[object, ...]], sql: str, rows: Sequence[tuple[int | str, ...]]) -> None:
    with connection.cursor() as cursor, cursor.copy(sql) as copy:
        for row in rows:
            copy.write_row(row)
