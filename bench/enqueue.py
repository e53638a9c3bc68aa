"""Orders from JSON Lines into the queue, beside what bare sqlite3 makes of the same orders."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import bare, orders
from bench.harness import Contender, Goal, Sample, Versus
from bench.program import NOOP, Program

COUNT = 100_000


def benchmark(count: int) -> Versus:
    return Versus(
        name="enqueue",
        title=f"Enqueue {count:,} orders from JSON Lines",
        count=count,
        unit="orders",
        contenders=contenders(count),
        goals=[
            Goal("batchctl", ("sqlite3, same tables", "sqlite3, same tables, executemany"), 0.6),
            Goal("batchctl", ("sqlite3, one table",), 0.35),
            Goal("batchctl", ("sqlite3, one table from JSON Lines",), None),
        ],
    )


def contenders(count: int) -> Sequence[Contender]:
    return [
        Contender("sqlite3, same tables", partial(bare.same_tables, count=count)),
        Contender(
            "sqlite3, same tables, executemany",
            partial(bare.same_tables, count=count, insert=bare.insert_items_singly),
        ),
        Contender("sqlite3, one table", partial(bare.one_table, count=count)),
        Contender("sqlite3, one table from JSON Lines", partial(one_table_from_file, count=count)),
        Contender("batchctl", partial(batchctl, count=count)),
    ]


def batchctl(folder: Path, count: int) -> Sample:
    """`seconds` leaves out what the same command takes for a single order: its start and its end."""
    program = Program(folder)
    program.configure(NOOP)
    orders.write(folder / "one.jsonl", 1)
    orders.write(folder / "orders.jsonl", count)
    single = ("enqueue", "orders", "one.jsonl", "-p", "noop", "--again")
    alone = min(program.run(*single).seconds for _ in range(3))
    done = program.run("enqueue", "orders", "orders.jsonl", "-p", "noop")
    assert done.answer["batch"]["total_items"] == count
    work = done.seconds - alone
    return Sample(work if work > 0 else done.seconds, done.seconds)


def one_table_from_file(folder: Path, count: int) -> Sample:
    """What a short script would do: read each line for its id, insert it under that."""
    path = orders.write(folder / "orders.jsonl", count)
    with bare.connected(folder / "bare.db") as connection, path.open(encoding="utf-8") as lines:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, payload TEXT NOT NULL)")
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        rows = ((json.loads(line)["order_id"], line) for line in lines)
        connection.executemany("INSERT INTO orders VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        return Sample(time.perf_counter() - began)
