"""Any sequence of what people, workers and crashes do, held against the contract told in plain Python."""

from __future__ import annotations

import json

import pytest
from hypothesis.stateful import invariant

from store.machine_control import ControlMachine
from store.machine_store import thorough

pytestmark = pytest.mark.slow


class QueueMachine(ControlMachine):
    """One store on a real file, two workers, a clock, and the reference: what must hold after every step."""

    @invariant()
    def items_are_as_told(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.eyes(
            "SELECT i.id, i.state, i.claim_no, i.attempts_used, i.worker_id, i.suspect, i.crashes, i.cancel_requested,"
            " i.next_attempt_at, i.key, d.payload, i.batch_no, i.organization"
            " FROM items i JOIN batches b ON b.no = i.batch_no JOIN item_data d ON d.item_id = i.id"
            " WHERE b.status NOT IN ('loading', 'deleting')"
        )
        tasks = self.reference.tasks.values()
        assert sorted(rows) == sorted(
            (t.id, t.state, t.claim_no, t.used, t.worker, t.suspect, t.crashes, t.told, t.due, t.key, t.payload,
             t.batch.no, t.batch.organization)
            for t in tasks
        )  # fmt: skip
        for task in tasks:
            assert task.claim_no >= self.claims.get(task.id, 0), "a claim number fell"
            self.claims[task.id] = task.claim_no
        attempts = self.eyes("SELECT item_id, claim_no, outcome, counted FROM attempts")
        told = [(t.id, claim, outcome, counted) for t in tasks for claim, (outcome, counted) in t.attempts.items()]
        assert sorted(attempts) == sorted(told)

    @invariant()
    def batches_are_as_told(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.eyes(
            "SELECT no, status, total_items, completed_items, failed_items, cancelled_items, run_no,"
            " completed_at IS NOT NULL, started_at IS NOT NULL, bulk, priority, not_before"
            " FROM batches WHERE status NOT IN ('loading', 'deleting') ORDER BY no"
        )
        assert rows == [
            (b.no, b.status, len(b.tasks), b.count("completed"), b.count("failed"), b.count("cancelled"), b.run_no,
             b.finished, b.begun, b.bulk, b.priority, b.not_before)
            for b in self.reference.batches.values()
        ]  # fmt: skip
        ends = self.eyes(
            "SELECT batch_no, detail, event FROM events"
            " WHERE event IN ('completed', 'completed_with_errors', 'failed', 'cancelled') ORDER BY id"
        )
        ends = [(no, json.loads(detail)["run_no"], event) for no, detail, event in ends]
        assert sorted(ends) == sorted((b.no, *end) for b in self.reference.batches.values() for end in b.ends)

    @invariant()
    def nothing_is_stranded(self) -> None:
        """Whatever a claim may take, the claim's index leads to it."""
        if not hasattr(self, "store"):
            return
        groups = {
            row[0]: row[1:]
            for row in self.eyes(
                "SELECT g.batch_no, g.priority, g.empty, g.gate, t.ready FROM ready_groups g LEFT JOIN turns t"
                " ON (t.processor, t.priority, t.organization) = (g.processor, g.priority, g.organization)"
            )
        }
        assert sorted(groups) == sorted(batch.no for batch in self.reference.unfinished())
        for no, (priority, empty, gate, ready) in groups.items():
            batch = self.reference.batches[no]
            assert priority == batch.priority
            if any(task.state == "pending" and not task.suspect for task in batch.tasks):
                assert not empty
                assert gate is not None or ready == 1


class SqliteQueue(QueueMachine):
    kind = "sqlite"


class PostgresQueue(QueueMachine):
    kind = "postgres"


TestSqliteQueue = SqliteQueue.TestCase
TestPostgresQueue = PostgresQueue.TestCase
TestSqliteQueue.settings = thorough(50)
TestPostgresQueue.settings = thorough(20)  # which takes three times as long for each
