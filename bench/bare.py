"""The limits: what sqlite3 itself does with the same durability, on the same tables or on the barest ones."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from batchctl.engines.statements import migrations
from bench import orders
from bench.harness import Sample

CHUNK = 5_000
GROUP = 100


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection as batchctl's engine opens it: WAL, every commit on the disk before it returns."""
    with closing(sqlite3.connect(path, isolation_level=None, cached_statements=512)) as connection:
        for pragma in (
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 4000",
            "cache_size = -65536",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
        yield connection


def make_tables(connection: sqlite3.Connection) -> None:
    """batchctl's own tables and indexes."""
    for _, _, script in migrations("sqlite"):
        connection.executescript(script)


def insert_batch(connection: sqlite3.Connection, name: str, total: int, organization: str = "") -> int:
    """A batch that is ready to run, with its group and its organization's turn; its number."""
    no = connection.execute(
        "INSERT INTO batches (id, kind, processor, organization, status, total_items, created_at)"
        " VALUES (?, 'orders', ?, ?, 'pending', ?, ?) RETURNING no",
        ("b" + secrets.token_hex(6), name, organization, total, time.time_ns() // 1_000_000),
    ).fetchone()[0]
    connection.execute(
        "INSERT INTO ready_groups (batch_no, processor, organization, priority) VALUES (?, ?, ?, 1)",
        (no, name, organization),
    )
    connection.execute("INSERT INTO processors (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
    connection.execute("INSERT INTO turns VALUES (?, 1, ?, 0, 1) ON CONFLICT DO NOTHING", (name, organization))
    return int(no)


ITEMS = "INSERT INTO items (id, batch_no, position, key) VALUES"
DATA = "INSERT INTO item_data (item_id, payload, idempotency_key) VALUES"
ITEM = "(?, ?, ?, ?)"
DATUM = "(?, ?, lower(hex(randomblob(16))))"
TOGETHER = 250


def insert_items(connection: sqlite3.Connection, batch_no: int, payloads: Sequence[str], first: int = 1) -> None:
    """One chunk in one commit, with many rows to a statement. `first` is the id and the position of the first."""
    connection.execute("BEGIN IMMEDIATE")
    for start in range(0, len(payloads), TOGETHER):
        part = list(enumerate(payloads[start : start + TOGETHER], first + start))
        items = [value for n, _ in part for value in (n, batch_no, n, f"A{n:08d}")]
        connection.execute(f"{ITEMS} {','.join([ITEM] * len(part))}", items)
    for start in range(0, len(payloads), TOGETHER):
        part = list(enumerate(payloads[start : start + TOGETHER], first + start))
        data = [value for row in part for value in row]
        connection.execute(f"{DATA} {','.join([DATUM] * len(part))}", data)
    connection.execute("COMMIT")


def insert_items_singly(connection: sqlite3.Connection, batch_no: int, payloads: Sequence[str], first: int = 1) -> None:
    """The same by `executemany`, as one would write it first."""
    numbers = range(first, first + len(payloads))
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(f"{ITEMS} {ITEM}", [(n, batch_no, n, f"A{n:08d}") for n in numbers])
    connection.executemany(f"{DATA} {DATUM}", zip(numbers, payloads, strict=True))
    connection.execute("COMMIT")


def same_tables(folder: Path, count: int, insert: Callable[..., None] = insert_items) -> Sample:
    """The orders into batchctl's tables and indexes, in the same chunks."""
    with connected(folder / "bare.db") as connection:
        make_tables(connection)
        payloads = list(orders.texts(count))
        began = time.perf_counter()
        no = insert_batch(connection, "noop", count)
        for start in range(0, count, CHUNK):
            insert(connection, no, payloads[start : start + CHUNK], start + 1)
        return Sample(time.perf_counter() - began)


def one_table(folder: Path, count: int) -> Sample:
    """The orders into one table under their ids, in one transaction: about as fast as a durable queue could get."""
    with connected(folder / "bare.db") as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, payload TEXT NOT NULL)")
        rows = [(f"A{n:08d}", text) for n, text in enumerate(orders.texts(count), 1)]
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        return Sample(time.perf_counter() - began)


def claim_and_complete(folder: Path, count: int) -> Sample:
    """A queue in one table: in each commit a group of 100 is completed with its results and the next one claimed."""
    with connected(folder / "bare.db") as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT NOT NULL, payload TEXT, result TEXT)")
        connection.execute("CREATE INDEX jobs_pending ON jobs (id) WHERE state = 'pending'")
        rows = [(text,) for text in orders.texts(count)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO jobs (state, payload) VALUES ('pending', ?)", rows)
        connection.execute("COMMIT")
        began = time.perf_counter()
        held: list[tuple[int, str]] = []
        done = 0
        while done < count:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "UPDATE jobs SET state = 'completed', result = ? WHERE id = ? AND state = 'processing'",
                [(f'{{"n":{number}}}', number) for number, _ in held],
            )
            done += len(held)
            held = connection.execute(
                "UPDATE jobs SET state = 'processing' WHERE id IN"
                " (SELECT id FROM jobs WHERE state = 'pending' ORDER BY id LIMIT ?) RETURNING id, payload",
                (GROUP,),
            ).fetchall()
            connection.execute("COMMIT")
        return Sample(time.perf_counter() - began)


def claim_and_complete_same_tables(folder: Path, count: int) -> Sample:
    """The same in batchctl's tables, with what it keeps of each item: an attempt, a result, who holds it."""
    with connected(folder / "bare.db") as connection:
        make_tables(connection)
        no = insert_batch(connection, "noop", count)
        insert_items(connection, no, list(orders.texts(count)))
        began = time.perf_counter()
        held: list[tuple[int, int]] = []
        done = 0
        while done < count:
            connection.execute("BEGIN IMMEDIATE")
            _complete(connection, no, held)
            done += len(held)
            held = connection.execute(
                "UPDATE items SET state = 'processing', claim_no = claim_no + 1, worker_id = 'w', started_at = 1"
                " WHERE id IN (SELECT id FROM items WHERE batch_no = ? AND state = 'pending' AND suspect = 0"
                " ORDER BY id LIMIT ?) RETURNING id, claim_no",
                (no, GROUP),
            ).fetchall()
            for number, _ in held:
                connection.execute("SELECT payload FROM item_data WHERE item_id = ?", (number,)).fetchone()
            connection.execute("COMMIT")
        return Sample(time.perf_counter() - began)


def _complete(connection: sqlite3.Connection, no: int, held: list[tuple[int, int]]) -> None:
    connection.executemany(
        "UPDATE items SET state = 'completed', worker_id = NULL, attempts_used = attempts_used + 1, completed_at = 2"
        " WHERE id = ? AND claim_no = ? AND state = 'processing' AND worker_id = 'w'",
        held,
    )
    connection.executemany(
        "INSERT INTO attempts (item_id, claim_no, worker_id, outcome, counted, started_at, ended_at)"
        " VALUES (?, ?, 'w', 'completed', 1, 1, 2)",
        held,
    )
    connection.executemany(
        "INSERT INTO item_results (item_id, result) VALUES (?, ?)", [(n, f'{{"n":{n}}}') for n, _ in held]
    )
    connection.execute("UPDATE batches SET completed_items = completed_items + ? WHERE no = ?", (len(held), no))
