"""Batches and items as JSON: the contract's fields, states as people see them, names, other organizations."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from databases import Database
from postgres_server import cluster
from queuekit import Queue

from batchctl.engines.postgres_sql import compiled
from batchctl.engines.statements import statements
from batchctl.errors import NotFound, UsageError
from batchctl.model import AttemptOutcome, BatchKind, Incoming, ItemState, NewBatch
from batchctl.views import Target, resolve_batch, resolve_batches, resolve_item, resolve_target

BATCH_FIELDS = (
    "id, name, group, kind, processor, status, paused, priority, organization, user, total_items, pending_items, "
    "waiting_items, processing_items, submitted_items, completed_items, failed_items, cancelled_items, "
    "processed_items, progress_percent, eta_seconds, run_no, created_at, started_at, completed_at, error, usage, cost"
)
ITEM_FIELDS = (
    "id, batch_id, key, state, waiting_for, attempts, max_attempts, progress, lane, payload, file, result, error, "
    "steps, usage, next_attempt_at, created_at, started_at, completed_at, duration_ms, worker"
)
STATES = ("pending", "waiting", "processing", "submitted", "completed", "failed", "cancelled")


@pytest.fixture
def queue(database: Database) -> Iterator[Queue]:
    queue = Queue(database.url)
    yield queue
    queue.close()


def counts(batch: dict[str, Any]) -> dict[str, int]:
    return {state: batch[f"{state}_items"] for state in STATES if batch[f"{state}_items"]}


def mixed(queue: Queue, **more: Any) -> int:
    """Ten items: two completed, one failed, one in backoff, one running, five pending."""
    (no,) = queue.add(10, **more)
    one, two, three, four, _ = queue.claim(5)
    queue.complete(one, {"total": "1.00"})
    queue.complete(two, [1, 2])
    queue.fail(three)
    queue.retry_later(four)
    return no


def test_a_batch_has_the_fields_of_the_contract(queue: Queue) -> None:
    batch = queue.views().batch(mixed(queue, name="june", org="acme"))
    assert ", ".join(batch) == BATCH_FIELDS
    assert counts(batch) == {"completed": 2, "failed": 1, "waiting": 1, "processing": 1, "pending": 5}
    assert (batch["total_items"], batch["processed_items"], batch["progress_percent"]) == (10, 3, 30.0)
    assert (batch["name"], batch["organization"], batch["user"], batch["priority"]) == (
        "june",
        "acme",
        "ann",
        "normal",
    )
    assert (batch["status"], batch["paused"], batch["run_no"]) == ("processing", False, 1)
    assert batch["created_at"].endswith("Z")
    assert len(batch["created_at"]) == len("2026-03-01T09:30:00.125Z")


def test_nobody_named_an_organization_is_null(queue: Queue) -> None:
    (no,) = queue.add(1)
    assert queue.views().batch(no)["organization"] is None


def test_an_item_has_the_fields_of_the_contract(queue: Queue) -> None:
    queue.add([{"id": "k1", "total": 12}])
    (item,) = queue.claim()
    running = queue.views().item(item.number)
    assert ", ".join(running) == ITEM_FIELDS
    assert (running["state"], running["worker"]) == ("processing", "wtest")
    assert running["payload"] == {"id": "k1", "total": 12}
    queue.complete(item, {"pdf": "a.pdf"})
    done = queue.views().item(item.number)
    assert (done["state"], done["worker"], done["result"], done["attempts"]) == ("completed", None, {"pdf": "a.pdf"}, 1)
    assert done["duration_ms"] == 5
    assert done["error"] is None


def test_errors_of_failed_and_of_waiting_items(queue: Queue) -> None:
    queue.add(3)
    failed, waiting, again = queue.claim(3)
    queue.fail(failed, "no such customer")
    queue.retry_later(waiting, "timed out")
    queue.fail(again)
    views = queue.views()
    assert views.item(failed.number)["error"] == {
        "type": "NotFound",
        "message": "no such customer",
        "permanent": True,
    }
    late = views.item(waiting.number)
    assert (late["state"], late["waiting_for"]) == ("waiting", "retry")
    assert late["error"] == {"type": "Timeout", "message": "timed out", "permanent": False}
    assert late["next_attempt_at"] is not None
    queue.store.retry(again.batch.no, "ann", item_ids=[again.number])
    assert views.item(again.number)["error"] is None


def test_a_paused_batch_shows_its_pending_items_as_waiting(queue: Queue) -> None:
    no = mixed(queue)
    queue.store.pause([no], None, "ann")
    views = queue.views()
    batch = views.batch(no)
    assert batch["paused"] is True
    assert counts(batch) == {"completed": 2, "failed": 1, "waiting": 6, "processing": 1}
    assert views.items(no, "pending") == []
    assert [item["waiting_for"] for item in views.items(no, "waiting")] == ["retry"] + ["paused"] * 5
    queue.store.resume([no], "ann")
    assert counts(views.batch(no))["pending"] == 5


@pytest.mark.parametrize("name", ["p", "*"])
def test_a_paused_processor_closes_the_gate_of_its_batches(queue: Queue, name: str) -> None:
    (no,) = queue.add(2)
    queue.store.pause_processor(name, None, "ann")
    batch = queue.views().batch(no)
    assert (counts(batch), batch["paused"]) == ({"waiting": 2}, False)
    assert queue.views().items(no)[0]["waiting_for"] == "paused"


def test_a_pause_that_is_over_closes_nothing(queue: Queue) -> None:
    (no,) = queue.add(2)
    queue.store.pause([no], queue.store.engine.now() - 1, "ann")
    batch = queue.views().batch(no)
    assert (counts(batch), batch["paused"]) == ({"pending": 2}, False)


def test_a_schedule_shows_its_items_as_waiting(queue: Queue) -> None:
    (no,) = queue.add(2, not_before=queue.store.engine.now() + 60_000)
    assert queue.views().items(no)[0]["waiting_for"] == "schedule"
    (past,) = queue.add(2, not_before=queue.store.engine.now() - 60_000)
    assert queue.views().items(past)[0]["state"] == "pending"


def test_a_broken_processor_shows_its_items_as_waiting(queue: Queue, database: Database) -> None:
    (no,) = queue.add(2)
    database.change("UPDATE processors SET broken_since = 1, broken_type = 'ImportError', broken_message = 'no module'")
    assert queue.views().items(no)[0]["waiting_for"] == "processor"
    gate = queue.views().gate(no)
    assert gate is not None
    assert gate.message == "ImportError: no module"


@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("all", ["k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10"]),
        ("completed", ["k1", "k2"]),
        ("failed", ["k3"]),
        ("waiting", ["k4"]),
        ("processing", ["k5"]),
        ("pending", ["k6", "k7", "k8", "k9", "k10"]),
        ("cancelled", []),
        ("submitted", []),
    ],
)
def test_items_of_a_state_in_input_order(queue: Queue, state: str, keys: list[str]) -> None:
    queue.add(3)
    no = mixed(queue, priority=0)
    queue.add(3)
    views = queue.views()
    assert [item["key"] for item in views.items(no, state)] == keys
    assert [item["key"] for item in views.items(no, state, limit=2, offset=1)] == keys[1:3]


def test_the_summary_adds_up(queue: Queue) -> None:
    no = mixed(queue)
    summary = queue.views().summary(no)
    assert summary.pop("total") == 10 == sum(summary.values())
    assert set(summary) == set(STATES)


def test_the_time_left_follows_the_rate(queue: Queue, database: Database) -> None:
    (no,) = queue.add(10)
    views = queue.views()
    assert views.batch(no)["eta_seconds"] is None
    for item in queue.claim(5):
        queue.complete(item)
    begun = queue.store.engine.now() - 10_000
    database.change("UPDATE batches SET started_at = ?", begun)
    assert views.batch(no)["eta_seconds"] == pytest.approx(10, abs=5)
    queue.store.pause([no], None, "ann")
    assert views.batch(no)["eta_seconds"] is None
    queue.store.resume([no], "ann")
    for item in queue.claim(5):
        queue.complete(item)
    assert views.batch(no)["eta_seconds"] == 0.0


def test_after_a_retry_the_rate_is_that_of_the_new_run(queue: Queue, database: Database) -> None:
    (no,) = queue.add(10)
    for item in queue.claim(10):
        queue.fail(item)
    queue.store.retry(no, "ann")
    views = queue.views()
    batch = views.batch(no)
    assert (batch["run_no"], batch["pending_items"], batch["eta_seconds"]) == (2, 10, None)
    for item in queue.claim(5):
        queue.complete(item)
    database.change("UPDATE events SET at = ? WHERE event = 'retry'", queue.store.engine.now() - 20_000)
    assert views.batch(no)["eta_seconds"] == pytest.approx(20, abs=5)


def test_attempts_tell_every_try(queue: Queue) -> None:
    queue.add(1)
    (item,) = queue.claim()
    queue.settle(item, ItemState.PENDING, AttemptOutcome.HANDED_BACK, counted=False)
    (item,) = queue.claim()
    queue.fail(item)
    first, second = queue.views().attempts(item.number)
    assert (first["outcome"], first["counted"], first["error"]) == ("handed_back", False, None)
    assert (second["attempt"], second["outcome"], second["duration_ms"]) == (2, "failed", 5)
    assert second["error"]["message"] == "no such customer"


def test_names_of_batches(queue: Queue) -> None:
    (old,) = queue.add(1, name="june")
    (new,) = queue.add(1, name="june")
    split = queue.add(4, split=2, name="big")
    views = queue.views()
    with queue.store.engine.read() as tx:
        number = views.batch(old)["id"]
        assert resolve_batches(tx, number) == [old]
        assert resolve_batches(tx, number[:10]) == [old]
        assert resolve_batch(tx, "june") == new
        assert resolve_batches(tx, "latest") == [split[-1]]
        assert resolve_batches(tx, "big") == split
        with pytest.raises(UsageError) as several:
            resolve_batch(tx, "big")
        assert len(several.value.details) == 2
        for wrong in ("nothing", number[:3], "", "jun", "caf\udce9", "%"):
            with pytest.raises(NotFound):
                resolve_batches(tx, wrong)


def test_a_prefix_that_fits_several_lists_them(queue: Queue, database: Database) -> None:
    nos = queue.add(1) + queue.add(1)
    for no, number in zip(nos, ("baaaa1111", "baaaa2222"), strict=True):
        database.change("UPDATE batches SET id = ? WHERE no = ?", number, no)
    with queue.store.engine.read() as tx:
        with pytest.raises(UsageError) as several:
            resolve_batches(tx, "baaaa")
        assert several.value.details == ["baaaa1111", "baaaa2222"]
        assert resolve_batches(tx, "baaaa2") == [nos[1]]


def test_names_of_items(queue: Queue) -> None:
    (no,) = queue.add([{"id": "k1"}, {"id": "in/a b.pdf"}, {"id": "caf\\xe9"}], name="a/b")
    with queue.store.engine.read() as tx:
        assert resolve_item(tx, "2") == 2
        assert resolve_item(tx, "latest/k1") == 1
        assert resolve_item(tx, "latest/in/a b.pdf") == 2
        assert resolve_item(tx, "a/b/in/a b.pdf") == 2
        assert resolve_item(tx, "a/b/caf\udce9") == 3
        assert resolve_target(tx, "a/b") == Target(batch_nos=(no,))
        assert resolve_target(tx, "3") == Target(item_id=3)
        for wrong in ("4", "0", "latest/k9", "k1", "-1", "9" * 30, "/", "latest/"):
            with pytest.raises(NotFound):
                resolve_item(tx, wrong)


def test_other_organizations_do_not_exist(queue: Queue) -> None:
    (theirs,) = queue.add(2, org="theirs", name="june")
    (ours,) = queue.add(2, org="ours", name="june")
    their_id = queue.views().batch(theirs)["id"]
    views = queue.views("ours")
    found, total = views.list_batches()
    assert (total, [batch["organization"] for batch in found]) == (1, ["ours"])
    assert [item["batch_id"] for item in views.find("k1", limit=9)] == [found[0]["id"]]
    with queue.store.engine.read() as tx:
        assert resolve_batches(tx, "june", "ours") == [ours]
        assert resolve_batches(tx, "june", "theirs") == [theirs]
        for wrong in (their_id, their_id[:8], "1", f"{their_id}/k1"):
            with pytest.raises(NotFound):
                resolve_target(tx, wrong, "ours")


def test_a_batch_that_is_loading_does_not_exist(queue: Queue, database: Database) -> None:
    (no,) = queue.add(1, name="half")
    database.change("UPDATE batches SET status = 'loading'")
    assert queue.views().list_batches() == ([], 0)
    assert queue.views().find("k1", limit=9) == []
    with queue.store.engine.read() as tx:
        for name in ("half", "latest", "1"):
            with pytest.raises(NotFound):
                resolve_target(tx, name)
    with pytest.raises(NotFound):
        queue.views().batch(no)


def test_lists_are_filtered_and_paged(queue: Queue) -> None:
    for n in range(5):
        queue.add(1, name=f"n{n}", processor="p" if n % 2 else "q")
    views = queue.views()
    found, total = views.list_batches(limit=2, offset=1)
    assert ([batch["name"] for batch in found], total) == (["n3", "n2"], 5)
    found, total = views.list_batches(processor="q")
    assert ([batch["name"] for batch in found], total) == (["n4", "n2", "n0"], 3)
    assert views.list_batches(statuses=["completed"]) == ([], 0)
    assert views.list_batches(since=queue.store.engine.now() + 1000) == ([], 0)


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("k1", None, ["k1"]),
        ("ACME & Søn", None, ["k1"]),
        ("ACME & Søn", "customer", ["k1"]),
        ("ACME & Søn", "id", []),
        ("12.5", None, ["k2"]),
        ("12.5", "total", ["k2"]),
        ("ACME", None, []),
        ('say "hi"', None, ["k2"]),
        ("", None, []),
        ("true", "paid", ["k2"]),
        ("1", "paid", []),
    ],
)
def test_find_by_key_or_field(queue: Queue, text: str, field: str | None, found: list[str]) -> None:
    queue.add([{"id": "k1", "customer": "ACME & Søn"}, {"id": "k2", "total": 12.5, "note": 'say "hi"', "paid": True}])
    assert [item["key"] for item in queue.views().find(text, field=field, limit=9)] == found


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Søn & Co", r"S\u00f8n \u0026 Co"),
        ("Søn & Co", "Søn & Co"),
        ("ø", r"\u00F8"),
        ("ø", "ø"),
        ("a/b", r"a\/b"),
        ("[*?]", "[*?]"),
        ("[x]", "[x]"),
        ("\t", r"\t"),
        ("", ""),
        ("12", "12"),
        ("x" * 60_000, "x" * 60_000),
    ],
)
def test_find_reads_json_as_whoever_wrote_it(queue: Queue, text: str, written: str) -> None:
    queue.add([{"id": "other", "name": "o/ther [y]"}])
    new = NewBatch(kind=BatchKind.ORDERS, processor="p", name=None, organization=None, user=None)
    loading = queue.store.load(new)
    loading.add([Incoming(key="k1", position=1, payload=f'{{"name": "{written}"}}', where="orders.jsonl:1")])
    loading.finish("other content", again=False)
    assert [item["key"] for item in queue.views().find(text, limit=9)] == ["k1"]
    assert [item["key"] for item in queue.views().find(text, field="name", limit=9)] == ["k1"]


def test_find_gives_the_newest_first(queue: Queue) -> None:
    queue.add(2)
    queue.add(2)
    assert [item["id"] for item in queue.views().find("k2", limit=9)] == [4, 2]
    assert [item["id"] for item in queue.views().find("k2", limit=1)] == [4]


COUNTING = ("view_batch", "view_next_retry", "view_held")


@pytest.mark.parametrize("statement", COUNTING)
def test_counting_never_reads_the_whole_table(tmp_path: Path, statement: str) -> None:
    Queue(tmp_path / "queue.db").close()
    with closing(sqlite3.connect(tmp_path / "queue.db")) as db:
        values = {"no": 1, "org": None}
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statements('sqlite')[statement]}", values)]
    on_items = [step for step in plan if " items" in step or " i " in step]
    assert on_items
    assert all("INDEX items_" in step for step in on_items), json.dumps(plan, indent=1)


@pytest.fixture(scope="module")
def full() -> Iterator[psycopg.Connection]:
    """Many items that are completed, some that are not, and the database knows."""
    fill = """
        INSERT INTO batches (id, kind, processor, status, created_at) VALUES ('b1', 'orders', 'p', 'processing', 1);
        INSERT INTO items (batch_no, position, key, state, completed_at, worker_id)
        SELECT 1, n, 'k' || n,
               CASE WHEN n % 100 = 0 THEN 'processing' WHEN n % 100 = 1 THEN 'failed' ELSE 'completed' END,
               CASE WHEN n % 100 <> 0 THEN 1 END, CASE WHEN n % 100 = 0 THEN 'w' END FROM generate_series(1, 20000) n;
        ANALYZE"""
    with cluster().database() as url, psycopg.connect(url, cursor_factory=psycopg.RawCursor) as connection:
        for part in fill.split(";"):
            connection.execute(part)
        yield connection


@pytest.mark.parametrize("statement", COUNTING)
def test_counting_never_reads_the_whole_table_on_postgresql(full: psycopg.Connection, statement: str) -> None:
    wanted = compiled()[statement]
    plan = full.execute("EXPLAIN " + wanted.sql, wanted.values({"no": 1, "org": None})).fetchall()
    on_items = [step for (step,) in plan if re.search(r" on items| using items_", step)]
    assert on_items
    assert not [step for step in on_items if "Seq Scan" in step or "items_pkey" in step or "items_key" in step], plan
