"""What a person waits for who asks a store with a million items: each question, whole command."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from statistics import median

from bench import filled, orders
from bench.bare import insert_batch, insert_items
from bench.harness import Line, Progress, Report, Verdict, in_fresh_folder
from bench.program import NOOP, Program

COUNT = 1_000_000
ROUNDS = 5
AT_MOST = 1.0  # seconds
QUEUED = 100_000
FAILED = 20  # every 20th item
PATTERNS = 30
NAMES = ("ended", "open")

FAILURES = (
    """UPDATE items SET state = 'failed' WHERE id % :failed = 0""",
    """UPDATE attempts SET outcome = 'failed', error_type = 'Timeout', error_message = 'no answer within 60 s'
WHERE item_id % :failed = 0""",
    """UPDATE item_results SET result = NULL, error_type = 'Timeout', pattern = item_id / :failed % :patterns,
       error_message = 'host ' || char(97 + item_id / :failed % :patterns) || ': no answer within 60 s'
WHERE item_id % :failed = 0""",
    """UPDATE batches SET failed_items = total_items / :failed, completed_items = total_items - total_items / :failed,
       status = 'completed_with_errors'""",
)
ATTEMPTS = "UPDATE attempts SET started_at = :now - :count + item_id - 500, ended_at = :now - :count + item_id"
MINUTES = """
WITH RECURSIVE past (minute) AS (SELECT 0 UNION ALL SELECT minute + 1 FROM past WHERE minute < 1439),
    how (outcome, bucket) AS (VALUES ('completed', 20), ('completed', 21), ('failed', 21), ('retry', 20))
INSERT INTO attempt_minutes (minute, processor, outcome, bucket, attempts, took_ms)
SELECT (:now / 60000 - minute) * 60000, 'noop', outcome, bucket, 100, 50000 FROM past, how
"""


def run(count: int | None, rounds: int | None, base: Path, say: Progress) -> Report:
    return in_fresh_folder(base, lambda folder: _measure(folder, count or COUNT, rounds or ROUNDS, say))  # type: ignore[no-any-return]


def questions(count: int) -> dict[str, list[str]]:
    ended, queued = NAMES
    key = f"A{count // 2:08d}"
    return {
        "list": ["list"],
        "show BATCH": ["show", ended],
        "show BATCH --items failed": ["show", ended, "--items", "failed"],
        "show ITEM": ["show", f"{ended}/{key}"],
        "errors BATCH": ["errors", ended],
        "errors": ["errors"],
        "why BATCH": ["why", queued],
        "why ITEM": ["why", f"{queued}/A{count + QUEUED:08d}"],
        "stats": ["stats"],
        "stats --format prometheus": ["stats", "--format", "prometheus"],
        "find KEY": ["find", key],
        "find VALUE": ["find", "Customer 976 & Sons"],
        "find, nothing fits": ["find", "no such order"],
        "find in one field": ["find", str(count // 2), "--field", "n"],
        "history BATCH": ["history", ended],
        "history ITEM": ["history", f"{ended}/{key}"],
    }


def _measure(folder: Path, count: int, rounds: int, say: Progress) -> Report:
    say(f"views: filling a store with {count:,} finished items and {QUEUED:,} queued")
    program = Program(folder)
    program.configure(NOOP)
    filled.make(folder / "queue.db", lambda connection: fill(connection, count))
    seconds: dict[str, list[float]] = {name: [] for name in questions(count)}
    say("views: measuring")
    for number in range(rounds + 1):
        for name, words in questions(count).items():
            took = program.ask(*words)
            if number:  # the first one fills the machine's caches
                seconds[name].append(took)
    lines = [
        Line(name, taken, 1 / median(taken), None, {"ms": median(taken) * 1000}) for name, taken in seconds.items()
    ]
    verdicts = [_verdict(name, median(taken)) for name, taken in seconds.items()]
    return Report("views", f"Questions to a store of {count:,} items, whole command", "answers", lines, verdicts, [])


def _verdict(name: str, value: float) -> Verdict:
    return Verdict(f"seconds of {name}", value, f"<= {AT_MOST:g}", value <= AT_MOST)


def fill(connection: sqlite3.Connection, count: int) -> None:
    """One batch that has ended, with some failures of several kinds, and one that is queued."""
    _load(connection, count, 1)
    filled.ended(connection)
    now = time.time_ns() // 1_000_000
    for statement in FAILURES:
        connection.execute(statement, {"failed": FAILED, "patterns": PATTERNS})
    connection.execute(ATTEMPTS, {"now": now, "count": count})
    connection.execute(MINUTES, {"now": now})
    _load(connection, QUEUED, count + 1)
    for no, name in enumerate(NAMES, 1):
        connection.execute("UPDATE batches SET name = ? WHERE no = ?", (name, no))


def _load(connection: sqlite3.Connection, count: int, first: int) -> None:
    no = insert_batch(connection, filled.PROCESSOR, count)
    for start in range(0, count, filled.CHUNK):
        payloads = list(orders.texts(min(filled.CHUNK, count - start), first + start))
        insert_items(connection, no, payloads, first + start)
