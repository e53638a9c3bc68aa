"""Any sequence of acts on lanes: none runs more than it may, out of order, or is stuck."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from batchctl.transitions import bulk, lanes, recovering
from store import kit
from store.lanekit import PACED, Definition, Rules, adopt, laned
from store.machine_store import WORKERS, StoreMachine, thorough

ROWS = (
    "SELECT i.id, i.lane, i.organization, i.state, i.waiting_for, i.suspect, b.priority, b.no,"
    " g.gate IS NULL AND g.batch_no IS NOT NULL, l.held_by FROM items i JOIN batches b ON b.no = i.batch_no"
    " LEFT JOIN ready_groups g ON g.batch_no = b.no LEFT JOIN lanes l ON l.no = i.lane_no"
    " WHERE b.status IN ('pending', 'processing')"
)


class Row:
    def __init__(self, row: tuple[Any, ...]) -> None:
        self.id, lane, organization, self.state, self.waiting_for, self.suspect, priority, no, self.open, self.held = (
            row
        )
        self.lane = (organization, lane)
        self.order = (priority, no, self.id)


pytestmark = pytest.mark.slow


class LaneMachine(StoreMachine):
    """One store, two workers, a clock."""

    @initialize()
    def open(self) -> None:
        self.begin(PACED)
        for module, name in ((bulk, "_CHUNK"), (recovering, "_CHUNK"), (lanes, "_AT_ONCE")):
            self.patch.setattr(module, name, 2)
        self.patch.setattr(lanes, "_ROUND", 60.0)
        self.batches: list[int] = []
        self.limit, self.hold = 1, False
        self.enqueue("AABAC", kit.NORMAL, None, None)

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.everything_can_end()
        finally:
            super().teardown()

    def rows(self) -> list[Row]:
        return [Row(row) for row in self.eyes(ROWS)]

    # -- what people do

    @rule(
        names=st.text("ABC", min_size=1, max_size=8),
        priority=st.sampled_from([kit.HIGH, kit.NORMAL, kit.NORMAL, kit.LOW]),
        organization=st.sampled_from([None, None, "a"]),
        opens=st.sampled_from([None, None, None, 1_000, 60_000]),
    )
    def enqueue(self, names: str, priority: Any, organization: str | None, opens: int | None) -> None:
        self.serial += 1
        not_before = None if opens is None else self.clock() + opens
        found = kit.load(
            self.store,
            laned(names),
            content=str(self.serial),
            priority=priority,
            organization=organization,
            not_before=not_before,
        )
        self.batches += found

    @rule(limit=st.sampled_from([1, 1, 2, 3]), hold=st.sampled_from([False, False, True]))
    def another_config(self, limit: int, hold: bool) -> None:
        self.limit, self.hold = limit, hold
        adopt(self.store, Definition(Rules(concurrency=limit, on_failure="hold" if hold else "continue")))

    @rule(data=st.data(), what=st.sampled_from(["pause", "pause a while", "resume", "high", "low", "cancel", "retry"]))
    def do_to_a_batch(self, data: st.DataObject, what: str) -> None:
        no = data.draw(st.sampled_from(self.batches))
        match what:
            case "pause" | "pause a while":
                self.store.pause([no], None if what == "pause" else self.clock() + 30_000, None)
            case "resume":
                self.store.resume([no], None)
            case "high" | "low":
                self.store.alter(no, None, priority=kit.HIGH if what == "high" else kit.LOW)
            case "cancel":
                self.store.cancel_batch(no, None)
            case "retry":
                self.store.retry(no, None, states=("failed", "cancelled"))

    @rule(data=st.data())
    def cancel_some_items(self, data: st.DataObject) -> None:
        ids = [row.id for row in self.rows()]
        if ids:
            self.store.cancel_items(data.draw(st.lists(st.sampled_from(ids), max_size=3, unique=True)), None)

    @rule(ms=st.sampled_from([1_000, 30_000, 120_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    # -- what workers do

    @rule(name=st.sampled_from(WORKERS), limit=st.sampled_from([0, 1, 2, 100]))
    def claim(self, name: str, limit: int) -> None:
        items = self.workers[name].claim(limit)
        self.hands[name] |= {item.number: item for item in items}
        self.check_claim([item.number for item in items], whole=len(items) < limit)

    @rule(name=st.sampled_from(WORKERS))
    def claim_a_suspect(self, name: str) -> None:
        if not self.hands[name]:
            suspect = self.workers[name].claim_suspect()
            if suspect is not None:
                self.hands[name][suspect.number] = suspect

    @rule(
        name=st.sampled_from(WORKERS), outcomes=st.lists(st.sampled_from(["done", "done", "failed", "retry", "back"]))
    )
    def answer(self, name: str, outcomes: list[str]) -> None:
        now = self.clock()
        held = sorted(self.hands[name].values(), key=lambda item: item.number)
        settled = []
        for item, outcome in zip(held, outcomes, strict=False):
            del self.hands[name][item.number]
            match outcome:
                case "done":
                    settled.append(kit.completed(item, now))
                case "failed":
                    settled.append(kit.failed(item, now))
                case "retry":
                    settled.append(kit.put_off(item, now, now + 20_000))
                case _:
                    settled.append(kit.given_back(item, now))
        self.workers[name].record(*settled)

    @rule(name=st.sampled_from(WORKERS), begun=st.booleans())
    def a_worker_dies(self, name: str, begun: bool) -> None:
        held = self.hands[name].values()
        started = frozenset((item.number, item.claim_no) for item in held) if begun else frozenset()
        recovering.release_worker(self.store.engine, name, started, 2)
        self.hands[name].clear()

    # -- what must hold

    def check_claim(self, taken: list[int], *, whole: bool) -> None:
        rows = self.rows()
        for lane in {row.lane for row in rows}:
            mine = [row for row in rows if row.lane == lane]
            running = sum(row.state == "processing" for row in mine)
            new = [row for row in mine if row.id in taken]
            left = [row for row in mine if row.open and not row.suspect and row.waiting_for == "lane"]
            assert not new or running <= self.limit, "more of a lane at once than it takes"
            assert not new or not mine[0].held, "something went on in a lane that is held"
            assert all(row.order > one.order for row in left for one in new), "out of order"
            waiting = [row for row in mine if row.state == "waiting" and row.waiting_for == "retry" and row.open]
            kept = len(waiting) if self.limit == 1 else 0
            suspects = sum(row.suspect and row.state == "pending" for row in mine)
            if whole and left and not mine[0].held:
                assert running + kept + suspects >= self.limit, "a lane is stuck"

    @invariant()
    def heads_are_marked_in_the_index(self) -> None:
        """Whatever waits for a lane can be found by it."""
        if hasattr(self, "store"):
            lost = self.eyes(
                "SELECT i.id FROM items i JOIN lane_batches b ON b.batch_no = i.batch_no AND b.lane_no = i.lane_no"
                " JOIN batches o ON o.no = i.batch_no"
                " WHERE i.waiting_for = 'lane' AND b.open = 0 AND o.status IN ('pending', 'processing')"
            )
            assert not lost

    @precondition(lambda self: len(getattr(self, "batches", ())) > 3)
    @rule()
    def everything_can_end(self) -> None:
        """When nothing holds them back, all items come to their end, and check has nothing to put right."""
        for name in WORKERS:
            self.workers[name].record(*(kit.given_back(item, self.clock()) for item in self.hands[name].values()))
            self.hands[name].clear()
        assert lanes.catch_up_all(self.store.engine) == 0
        for no in self.batches:
            self.store.resume([no], None)
        worker = self.workers["w1"]
        for _ in range(1_000):
            suspect = worker.claim_suspect()
            items = worker.claim(3) if suspect is None else [suspect]
            worker.complete(*items)
            self.clock.advance(0 if items else 30_000)
            if not items and not self.rows():
                return
        raise AssertionError("something is stuck")


class SqliteLanes(LaneMachine):
    kind = "sqlite"


class PostgresLanes(LaneMachine):
    kind = "postgres"


TestSqliteLanes = SqliteLanes.TestCase
TestPostgresLanes = PostgresLanes.TestCase
TestSqliteLanes.settings = thorough(40)
TestPostgresLanes.settings = thorough(20)  # which takes three times as long for each
