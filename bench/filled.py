"""Stores of any size, filled by plain SQL, for the claim benchmark. Payloads are tiny: no claim scans them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from batchctl.engines.statements import migrations
from bench.bare import connected, insert_batch, insert_items, make_tables

CHUNK = 50_000
PROCESSOR = "noop"

Fill = Callable[[sqlite3.Connection], None]


def make(path: Path, fill: Fill, start: Path | None = None) -> Path:
    """A store at `path`, begun as a copy of `start` where that is given."""
    if start is not None:
        shutil.copyfile(start, path)
    with connected(path) as connection:
        if start is None:
            make_tables(connection)
            connection.execute(f"PRAGMA user_version = {migrations('sqlite')[-1][0]:d}")
        # Nobody waits for these commits: only what they leave behind is measured.
        connection.execute("PRAGMA synchronous = OFF")
        fill(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.chmod(0o600)
    return path


def queued(connection: sqlite3.Connection, count: int, organization: str = "") -> int:
    """One batch with `count` pending items; its number."""
    no = insert_batch(connection, PROCESSOR, count, organization)
    first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM items").fetchone()[0]
    for start in range(0, count, CHUNK):
        payloads = ['{"n":1}'] * min(CHUNK, count - start)
        insert_items(connection, no, payloads, first + start)
    return no


def paused(connection: sqlite3.Connection, count: int) -> None:
    """An older batch that is paused stands before one that is not."""
    connection.execute("UPDATE batches SET paused = 1")
    connection.execute("UPDATE ready_groups SET gate = 'paused'")
    queued(connection, count)


def finished(connection: sqlite3.Connection, count: int) -> None:
    """All that was there is completed, with attempts and results; then a new batch."""
    ended(connection)
    queued(connection, count)
    connection.execute("UPDATE turns SET ready = 1")


def ended(connection: sqlite3.Connection) -> None:
    """All that was there is completed, with attempts and results."""
    connection.execute("BEGIN")
    connection.execute(
        "UPDATE items SET state = 'completed', completed_at = 1, started_at = 1, claim_no = 1, attempts_used = 1"
    )
    connection.execute("INSERT INTO item_results (item_id, result) SELECT id, '{}' FROM items")
    connection.execute(
        "INSERT INTO attempts (item_id, claim_no, worker_id, outcome, counted, started_at, ended_at)"
        " SELECT id, 1, 'w1', 'completed', 1, 1, 1 FROM items"
    )
    connection.execute("UPDATE batches SET status = 'completed', completed_at = 1, completed_items = total_items")
    connection.execute("DELETE FROM ready_groups")
    connection.execute("UPDATE turns SET ready = 0")
    connection.execute("COMMIT")


def organizations(connection: sqlite3.Connection, count: int, each: int) -> None:
    for number in range(count):
        queued(connection, each, f"org-{number:04d}")


def laned(connection: sqlite3.Connection, count: int, lanes: int) -> None:
    """One batch whose items go through so many lanes, row by row; the first of each may run."""
    no = queued(connection, count)
    connection.execute("BEGIN")
    names = [(PROCESSOR, f"account-{number:06d}") for number in range(lanes)]
    connection.executemany("INSERT INTO lanes (processor, value) VALUES (?, ?)", names)
    connection.execute("INSERT INTO lane_batches (batch_no, lane_no, priority) SELECT ?, no, 1 FROM lanes", (no,))
    lane = "(id - (SELECT min(id) FROM items WHERE batch_no = :no)) % :lanes + 1"
    connection.execute(
        f"UPDATE items SET state = 'waiting', waiting_for = 'lane', lane_no = {lane},"  # noqa: S608 - ours
        f" lane = (SELECT value FROM lanes WHERE no = {lane}) WHERE batch_no = :no",
        {"no": no, "lanes": lanes},
    )
    connection.execute("UPDATE ready_groups SET relane = 0 WHERE batch_no = ?", (no,))
    connection.execute("COMMIT")
