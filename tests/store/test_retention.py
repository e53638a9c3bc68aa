"""Retention on every engine: what goes goes whole, what stays is untouched, what is interrupted is finished later."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databases import Database

from batchctl.announce import Alert
from batchctl.config import Config
from batchctl.config.structs import CheckConfig
from batchctl.retention import Cleaned, clean, rules
from batchctl.store import Store
from batchctl.transitions.alerts import clear_alert, open_alerts, raise_alert
from batchctl.transitions.counting import DAY, HOUR, MINUTE, add_up_old
from batchctl.transitions.loading import abort_abandoned
from batchctl.views import Views
from batchctl.views.stats import statistics
from store.kit import Clock, Worker, begin, load, orders

Peek = Callable[..., list[tuple[Any, ...]]]
OF_ITEMS = ("item_data", "item_results", "attempts", "attempt_logs", "item_steps")


def config(tmp_path: Path, **retention: float | None) -> Config:
    return Config(folder=tmp_path, store="", check=CheckConfig(retention=retention))


@pytest.fixture
def keep(tmp_path: Path) -> Config:
    """Completed batches stay for an hour, failed ones for ever."""
    return config(tmp_path, completed=3600.0, failed=None)


def finish(store: Store, worker: Worker, items: int = 3, *, fail: bool = False, **new: Any) -> int:
    (no,) = load(store, items, **new)
    claimed = worker.claim(items)
    assert {item.batch.no for item in claimed} == {no}
    worker.fail(*claimed) if fail else worker.complete(*claimed)
    return no


def rows_of(peek: Peek, no: int) -> dict[str, int]:
    """How much of a batch is in each table."""
    found = {"batches": len(peek("SELECT no FROM batches WHERE no = ?", no))}
    found["items"] = len(peek("SELECT id FROM items WHERE batch_no = ?", no))
    found["events"] = len(peek("SELECT id FROM events WHERE batch_no = ?", no))
    for table in OF_ITEMS:
        sql = f"SELECT 1 FROM {table} t JOIN items i ON i.id = t.item_id WHERE i.batch_no = ?"  # noqa: S608
        found[table] = len(peek(sql, no))
    return found


def test_rules() -> None:
    assert rules({}, None) == {}
    assert rules({"completed": 5.0, "failed": None}, None) == {"completed": 5.0}
    assert rules({"completed": 5.0, "failed": None}, 9.0) == {
        "completed": 9.0,
        "completed_with_errors": 9.0,
        "cancelled": 9.0,
    }


def test_a_batch_past_its_rule_goes_with_all_it_has(
    store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config
) -> None:
    old = finish(store, worker)
    clock.advance(2 * HOUR)
    young = finish(store, worker)
    before = rows_of(peek, young)
    done = clean(store, keep)
    assert (done.batches, done.items) == (1, 3)
    assert set(rows_of(peek, old).values()) == {0}
    assert rows_of(peek, young) == before
    for table in OF_ITEMS:
        assert not peek(f"SELECT 1 FROM {table} WHERE item_id NOT IN (SELECT id FROM items)")  # noqa: S608
    assert clean(store, keep).batches == 0


def test_what_is_unfinished_or_has_no_rule_stays(
    store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config, tmp_path: Path
) -> None:
    failed = finish(store, worker, fail=True)
    finish(store, worker)
    (open_one,) = load(store, 2)
    worker.complete(*worker.claim(1))
    clock.advance(400 * DAY)
    assert clean(store, config(tmp_path)) == Cleaned()
    assert clean(store, keep).batches == 1
    assert clean(store, keep, older_than=0.0).batches == 0, "never is never"
    assert {no for (no,) in peek("SELECT no FROM batches")} == {failed, open_one}
    assert clean(store, config(tmp_path), older_than=0.0).batches == 1
    assert [no for (no,) in peek("SELECT no FROM batches")] == [open_one]


def test_a_dry_run_changes_nothing(store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config) -> None:
    no = finish(store, worker)
    clock.advance(2 * HOUR)
    before = rows_of(peek, no)
    assert clean(store, keep, dry_run=True) == Cleaned(batches=1, items=3)
    assert rows_of(peek, no) == before


def test_a_batch_that_was_opened_again_stays(
    store: Store, worker: Worker, clock: Clock, peek: Peek, tmp_path: Path
) -> None:
    no = finish(store, worker, fail=True)
    clock.advance(HOUR)
    assert store.retry(no, "ann") == 3
    assert clean(store, config(tmp_path, failed=1.0)).batches == 0
    assert rows_of(peek, no)["items"] == 3


def test_an_interrupted_deletion_is_finished_by_the_next_pass(
    store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config, tmp_path: Path
) -> None:
    no = finish(store, worker, 300, idempotency_key="k1")
    clock.advance(2 * HOUR)
    real, chunks = time.monotonic, iter([0.0] * 6)
    # The clock of the deadline stands still for a chunk, then it is over.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchctl.transitions.deleting.time.monotonic", lambda: next(chunks, real()))
        clean(store, keep, deadline=real() + 0.0001)
    left = rows_of(peek, no)
    assert left["batches"] == 1
    assert Views(store.engine).list_batches() == ([], 0), "nobody sees what is half there"
    assert clean(store, config(tmp_path)).items == left["items"], "no rule is needed to finish it"
    assert set(rows_of(peek, no).values()) == {0}


def test_recovery_finishes_it_too(store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config) -> None:
    no = finish(store, worker)
    clock.advance(2 * HOUR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchctl.retention.delete_batch", lambda *_, **__: 0)
        clean(store, keep)
    assert peek("SELECT status FROM batches WHERE no = ?", no) == [("deleting",)]
    assert abort_abandoned(store.engine) == 1
    assert set(rows_of(peek, no).values()) == {0}


def test_an_idempotency_key_is_free_again(store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config) -> None:
    finish(store, worker, idempotency_key="k1")
    clock.advance(2 * HOUR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchctl.retention.delete_batch", lambda *_, **__: 0)
        clean(store, keep)
    (no,) = load(store, 3, idempotency_key="k1")
    assert peek("SELECT idempotency_key FROM batches WHERE no = ?", no) == [("k1",)]


def test_alerts_go_a_month_after_they_were_cleared(
    store: Store, database: Database, clock: Clock, peek: Peek, tmp_path: Path
) -> None:
    """Without any rule, and their messages, too; what is open stays, and what is still to be sent."""
    with store.engine.write() as tx:
        for name in ("over", "open"):
            assert raise_alert(tx, Alert(name, f"{name}!", since=clock.ms), "", None, clock.ms)
        assert clear_alert(tx, open_alerts(tx)[0], clock.ms)
    for state in ("sent", "dead", "due"):
        database.change(
            "INSERT INTO outbox (event, target, message, state, created_at) VALUES ('alert', 't', '', ?, ?)",
            state,
            clock.ms,
        )
    clock.advance(29 * DAY)
    clean(store, config(tmp_path))
    assert peek("SELECT count(*) FROM alerts") == [(2,)]
    assert peek("SELECT count(*) FROM outbox") == [(3,)]
    clock.advance(2 * DAY)
    clean(store, config(tmp_path))
    assert peek("SELECT name FROM alerts") == [("open",)]
    assert peek("SELECT state FROM outbox") == [("due",)]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("remembers", [False, True])
def test_skip_known_remembers_what_was_completed(
    store: Store, worker: Worker, clock: Clock, *, remembers: bool, half: bool
) -> None:
    """Also by a processor that was never asked to, and while the deletion is under way."""
    if remembers:
        begin(store, skip_known=True).abort()
    load(store, ["a", "b"])
    one, two = worker.claim(2)
    worker.complete(one)
    worker.fail(two)
    clock.advance(2 * HOUR)
    with pytest.MonkeyPatch.context() as patch:
        if half:
            patch.setattr("batchctl.retention.delete_batch", lambda *_, **__: 0)
        assert clean(store, config(Path(), completed_with_errors=1.0)).batches == 1
    loading = begin(store, skip_known=True)
    loading.add(orders(["a", "b", "c"]))
    loaded = loading.finish("content", again=True)
    assert loaded.skipped_items == 1
    assert sorted(item.key for item in worker.claim(5)) == ["b", "c"]


def test_only_the_organization_that_was_asked_for(
    store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config
) -> None:
    finish(store, worker, organization="acme")
    other = finish(store, worker, organization="dee")
    clock.advance(2 * HOUR)
    assert clean(store, keep, org="acme").batches == 1
    assert [no for (no,) in peek("SELECT no FROM batches")] == [other]


def test_sent_messages_go_with_their_batch_and_unsent_ones_stay(
    store: Store, worker: Worker, clock: Clock, database: Database, keep: Config
) -> None:
    no = finish(store, worker)
    with store.engine.write() as tx:
        for target in ("mail", "chat"):
            notice = {"batch_no": no, "run_no": 1, "organization": "", "event": "completed", "target": target}
            tx.run("insert_notice", notice | {"message": b"{}", "now": clock(), "expires_at": clock() + DAY})
    database.change("UPDATE outbox SET state = 'sent' WHERE target = 'mail'")
    clock.advance(2 * HOUR)
    assert clean(store, keep).batches == 1
    assert database.query("SELECT target FROM outbox") == [("chat",)]
    database.change("UPDATE outbox SET state = 'sent'")
    clean(store, keep)
    assert database.query("SELECT target FROM outbox") == []


def test_figures_outlive_their_batches_and_are_added_up(
    store: Store, worker: Worker, clock: Clock, peek: Peek, keep: Config
) -> None:
    begun = clock()
    for _ in range(3):
        finish(store, worker)
        clock.advance(MINUTE)
    total = statistics(Views(store.engine), begun - HOUR).total
    assert (total.outcomes["completed"], total.batches) == (9, 0)
    clock.advance(3 * DAY)
    assert clean(store, keep).batches == 3
    assert len(peek("SELECT DISTINCT minute FROM attempt_minutes")) <= 2
    assert all(minute % HOUR == 0 for (minute,) in peek("SELECT minute FROM attempt_minutes"))
    assert statistics(Views(store.engine), begun - HOUR).total.outcomes["completed"] == 9
    clock.advance(70 * DAY)
    add_up_old(store.engine)
    assert all(minute % DAY == 0 for (minute,) in peek("SELECT minute FROM attempt_minutes"))
    assert peek("SELECT sum(attempts) FROM attempt_minutes") == [(9,)]
