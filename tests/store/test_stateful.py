"""Any sequence of what people, workers and crashes do, held against the contract told in plain Python."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from batchctl.errors import DuplicateBatch
from batchctl.model import AttemptOutcome, Incoming, Item, ItemError, ItemState
from batchctl.store import EVERYTHING, Scope, Store
from batchctl.transitions import bulk, deleting, loading, recovering
from batchctl.transitions.processors import break_processor, mend_changed
from batchctl.transitions.recording import Settled
from store import kit
from store.reference import Batch, Reference, Task

PROCESSORS = ("p", "q")
WORKERS = ("w1", "w2")
MAX_CRASHES = 2
ORGANIZATIONS = st.sampled_from([None, "a", "b"])
PRIORITIES = st.sampled_from([kit.HIGH, kit.NORMAL, kit.NORMAL, kit.LOW])
SOON = st.sampled_from([None, None, None, None, -5, 1_000, 60_000])
GATES = [
    "pause",
    "resume",
    "pause processor",
    "resume processor",
    *["resume all"] * 4,
    "break",
    "mend",
    *["priority"] * 3,
    "schedule",
]
OUTCOMES = ["completed", "failed", "failed", "retry now", "retry later", "handed back", "cancelled", "untouched"]

PATTERN = st.lists(st.sampled_from([*OUTCOMES, None]), min_size=1, max_size=6)


class PowerCut(Exception):
    """The process that did a bulk act is gone."""


class Healthy:
    """A processor's definition as `mend_changed` looks at it."""

    problems: tuple[str, ...] = ()
    fingerprint = "mended"


class QueueMachine(RuleBasedStateMachine):
    """One store on a real file, two workers, a clock, and the reference."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "queue.db"
        self.store = Store.open(str(path), create=True)
        self.engine = self.store.engine
        self.clock = kit.Clock()
        self.engine.now = self.clock  # type: ignore[method-assign]
        self.patch = pytest.MonkeyPatch()
        for module in (bulk, recovering, deleting):
            self.patch.setattr(module, "_CHUNK", 2)
        self.eyes = sqlite3.connect(path, isolation_level=None)
        self.reference = Reference()
        self.workers = {name: kit.Worker(self.store, name, kit.scope(*PROCESSORS)) for name in WORKERS}
        self.hands: dict[str, dict[int, Item]] = {name: {} for name in WORKERS}
        self.lost: list[tuple[str, Item]] = []
        self.claims: dict[int, int] = {}
        self.serial = 0
        for processor, organization in (("p", None), ("q", None), ("p", "a")):
            self.enqueue(9, processor, organization, kit.NORMAL)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.patch.undo()
            self.eyes.close()
            self.store.close()
            self.folder.cleanup()

    def now(self) -> int:
        return self.clock.ms

    def later(self, offset: int | None) -> int | None:
        return None if offset is None else self.now() + offset

    def some_batch(self, data: st.DataObject) -> Batch:
        return self.reference.batches[data.draw(st.sampled_from(sorted(self.reference.batches)), label="batch")]

    def some_tasks(self, data: st.DataObject, tasks: list[Task]) -> list[Task]:
        chosen = data.draw(st.sets(st.sampled_from([task.id for task in tasks])) if tasks else st.just(set()))
        return [task for task in tasks if task.id in chosen]

    # -- time

    @rule(ms=st.sampled_from([1, 1_000, 30_000, 120_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    # -- loading

    @rule(
        size=st.integers(3, 14),
        processor=st.sampled_from(PROCESSORS),
        organization=ORGANIZATIONS,
        priority=PRIORITIES,
    )
    def enqueue(self, size: int, processor: str, organization: str | None, priority: Any) -> None:
        rows = self._rows([f"k{n}" for n in range(size)])
        self._enqueue(rows, chunk=9, processor=processor, organization=organization, priority=priority)

    @rule(
        names=st.lists(st.sampled_from([f"k{n}" for n in range(14)]), min_size=1, max_size=14),
        opens=SOON,
        chunk=st.integers(1, 8),
        split=st.sampled_from([None, None, 1, 3]),
        on_duplicate=st.sampled_from(["refuse", "skip", "last"]),
        skip_known=st.booleans(),
        organization=ORGANIZATIONS,
        dies=st.sampled_from([False, False, False, True]),
    )
    def enqueue_with_options(self, names: list[str], opens: int | None, dies: bool, **options: Any) -> None:
        self._enqueue(self._rows(names), dies=dies, not_before=self.later(opens), processor="p", **options)

    def _rows(self, names: list[str]) -> list[Incoming]:
        self.serial += 1
        return [
            Incoming(key, n, f'{{"row": {n}, "serial": {self.serial}}}', f"orders.csv:{n}")
            for n, key in enumerate(names, 1)
        ]

    def _enqueue(
        self,
        rows: list[Incoming],
        *,
        processor: str,
        organization: str | None,
        chunk: int,
        split: int | None = None,
        on_duplicate: str = "refuse",
        skip_known: bool = False,
        dies: bool = False,
        priority: Any = kit.NORMAL,
        not_before: int | None = None,
    ) -> None:
        expected, skipped, twins = self._expect(rows, processor, organization or "", on_duplicate, skip_known)
        act = kit.begin(
            self.store,
            split=split,
            on_duplicate=on_duplicate,
            skip_known=skip_known,
            processor=processor,
            organization=organization,
            priority=priority,
            not_before=not_before,
        )
        found = [twin for at in range(0, len(rows), chunk) for twin in act.add(rows[at : at + chunk])]
        assert [(twin.key, twin.first_position) for twin in found] == twins
        if dies:
            act._leave()  # what the kernel does when the process ends
            return
        if found:
            act.abort()
            return
        loaded = act.finish(f"content {self.serial}", again=False)
        assert (loaded.existing, loaded.skipped_items) == (False, skipped)
        size = split or len(rows)
        parts = [expected[at : at + size] for at in range(0, len(expected), size)]
        assert len(loaded.batch_nos) == len(parts)
        for no, part in zip(loaded.batch_nos, parts, strict=True):
            stored = self._stored(no)
            assert [row[1:] for row in stored] == part
            self.reference.add(Batch(no, processor, organization or "", int(priority), not_before), stored)

    def _expect(
        self, rows: list[Any], processor: str, organization: str, on_duplicate: str, skip_known: bool
    ) -> tuple[list[tuple[str, int, str]], int, list[tuple[str, int]]]:
        known = self.reference.known(processor, organization) if skip_known else set()
        kept: dict[str, tuple[str, int, str]] = {}
        skipped, twins = 0, []
        for row in rows:
            if row.key in known:
                skipped += 1
            elif row.key not in kept:
                kept[row.key] = (row.key, row.position, row.payload)
            elif on_duplicate == "refuse":
                twins.append((row.key, kept[row.key][1]))
            else:
                skipped += 1
                if on_duplicate == "last":
                    kept[row.key] = (row.key, kept[row.key][1], row.payload)
        return list(kept.values()), skipped, twins

    # -- workers

    @rule(
        name=st.sampled_from(WORKERS),
        limit=st.integers(1, 30),
        processors=st.sampled_from([PROCESSORS, PROCESSORS, ("p",), ("q",)]),
        limits=st.sampled_from([{}, {}, {"p": 1}, {"p": 3, "q": 2}]),
        organization=st.sampled_from([None, None, None, "", "a"]),
        named=st.booleans(),
        data=st.data(),
    )
    def claim(
        self,
        name: str,
        limit: int,
        processors: tuple[str, ...],
        limits: dict[str, int],
        organization: str | None,
        named: bool,
        data: st.DataObject,
    ) -> None:
        nos = tuple(sorted(self.reference.batches))
        chosen = tuple(data.draw(st.permutations(nos))[: max(1, len(nos) // 2)]) if named else None
        scope = kit.scope(*processors, limits=limits, batch_nos=chosen, organization=organization)
        self._claim(name, limit, scope)

    def _claim(self, name: str, limit: int, scope: Scope) -> None:
        items = self.workers[name].claim(limit, scope)
        self.reference.promote(self.now())
        self.reference.check_claim(items, scope, limit, self.now())
        self._take(name, items)

    @rule(name=st.sampled_from(WORKERS), dies=st.booleans())
    def claim_suspect(self, name: str, dies: bool = False) -> None:
        if self.hands[name]:
            return
        worker = self.workers[name]
        worker.claim(0)
        self.reference.promote(self.now())
        able = self.reference.claimable(worker.scope, self.now(), suspects=True)
        with self.engine.read() as tx:
            assert worker.claimer.suspect_waits(tx, worker.scope) is bool(able)
        item = worker.claim_suspect()
        assert (item.number if item else None) == (able[0].id if able else None)
        self._take(name, [item] if item else [])
        if dies:
            self._die(name, set(self.hands[name]))

    def _take(self, name: str, items: list[Item]) -> None:
        self.reference.claim(items, name)
        self.hands[name] |= {item.number: item for item in items}

    @rule(name=st.sampled_from(WORKERS), pattern=PATTERN, late=st.booleans(), twice=st.booleans())
    def answer(self, name: str, pattern: list[str | None], late: bool, twice: bool) -> None:
        """Outcomes in any mixture, repeated ones and those of claims that were lost among them."""
        held = [self.hands[name][number] for number in sorted(self.hands[name])]
        lost = [item for holder, item in self.lost if holder == name] if late else []
        settled = [
            self._outcome(item, what)
            for item, what in zip([*lost, *held], cycle(pattern), strict=False)
            if what is not None
        ]
        stored = self.workers[name].record(*settled * (1 + twice))
        ours = self.reference.record(name, settled)
        assert sorted((one.item_id, one.claim_no) for one in stored) == sorted(ours)
        for one in settled:
            item = self.hands[name].get(one.item_id)
            if item is not None and item.claim_no == one.claim_no:
                self.lost.append((name, self.hands[name].pop(one.item_id)))

    @rule(name=st.sampled_from(WORKERS), limit=st.integers(5, 30), pattern=PATTERN)
    def work(self, name: str, limit: int, pattern: list[str | None]) -> None:
        """What a worker does most of the time."""
        self._work(name, limit, pattern)

    @rule(name=st.sampled_from(WORKERS), limit=st.integers(1, 12), pattern=PATTERN)
    def work_on(self, name: str, limit: int, pattern: list[str | None]) -> None:
        """The same rule, so that it is taken as often as it is in life."""
        self._work(name, limit, pattern)

    def _work(self, name: str, limit: int, pattern: list[str | None]) -> None:
        self._claim(name, limit, kit.scope(*PROCESSORS))
        self.answer(name, pattern, False, False)

    def _outcome(self, item: Item, what: str) -> Settled:
        now = self.now()
        error = ItemError("Timeout", "timed out")
        match what:
            case "completed":
                return kit.completed(item, now)
            case "failed":
                return kit.failed(item, now)
            case "retry now":
                return kit.put_off(item, now, now)
            case "retry later":
                return kit.put_off(item, now, now + 45_000)
            case "handed back":
                outcome = AttemptOutcome.HANDED_BACK
                return kit.settled(item, now, ItemState.PENDING, outcome, counted=False, error=error)
            case "cancelled":
                return kit.settled(item, now, ItemState.CANCELLED, AttemptOutcome.CANCELLED)
            case _:
                return kit.given_back(item, now)

    @rule(pattern=st.lists(st.sampled_from(["completed", "failed"]), min_size=1, max_size=4))
    def drain(self, pattern: list[str | None]) -> None:
        """With every gate open and time passing, everything that was ever acknowledged ends."""
        for name in (EVERYTHING, *PROCESSORS):
            self._resume(name)
        self.recover()
        self.clock.advance(60_001)
        for name in WORKERS:
            self.answer(name, pattern, False, False)
        while any(task.state in ("pending", "waiting") and not task.suspect for task in self.reference.tasks.values()):
            self._work(WORKERS[0], 30, pattern)
        while any(not batch.finished for batch in self.reference.batches.values()):
            self.claim_suspect(WORKERS[0])
            assert self.hands[WORKERS[0]], "an item can be had by nobody"
            self.answer(WORKERS[0], pattern, False, False)

    @rule(name=st.sampled_from(WORKERS), reboot=st.booleans(), data=st.data())
    def worker_dies(self, name: str, reboot: bool, data: st.DataObject) -> None:
        held = list(self.hands[name].values())
        begun = {item.number for item in held if data.draw(st.booleans(), label=f"{item.number} was begun")}
        self._die(name, None if reboot else begun)

    def _die(self, name: str, begun: set[int] | None) -> None:
        """`begun`: the items that it had started; None: the machine went down."""
        held = list(self.hands[name].values())
        marks = None
        if begun is not None:
            marks = frozenset((item.number, item.claim_no) for item in held if item.number in begun)
        count = recovering.release_worker(self.engine, name, marks, MAX_CRASHES)
        assert count == self.reference.release(name, begun, MAX_CRASHES)
        self.lost += [(name, item) for item in held]
        self.hands[name].clear()

    @rule(name=st.sampled_from(WORKERS), data=st.data())
    def worker_does_not_know(self, name: str, data: st.DataObject) -> None:
        held = [item for item in self.hands[name].values() if data.draw(st.booleans())]
        recovering.hand_back(self.engine, name, [(item.number, item.claim_no) for item in held])
        self.reference.record(name, [kit.given_back(item, self.now()) for item in held])
        for item in held:
            self.lost.append((name, self.hands[name].pop(item.number)))

    # -- people

    @rule(data=st.data(), cut=st.sampled_from([None, None, 1, 2, 3]))
    def cancel_batch(self, data: st.DataObject, cut: int | None) -> None:
        batch = self.some_batch(data)
        if batch.finished:
            assert self.store.cancel_batch(batch.no, "ann") == 0
            return
        with self._power_cut(cut) as happened:
            count = self.store.cancel_batch(batch.no, "ann")
        self.reference.begin_cancel(batch)
        if happened():
            self._adopt(batch, {"pending", "waiting"}, lambda task: task.become("cancelled"))
        else:
            assert count == self.reference.end_cancel(batch)

    @rule(data=st.data())
    def cancel_items(self, data: st.DataObject) -> None:
        tasks = self.some_tasks(data, list(self.reference.tasks.values()))
        ended = self.store.cancel_items([task.id for task in tasks], "ann")
        assert ended == self.reference.cancel_tasks(tasks)

    @rule(
        data=st.data(),
        states=st.sampled_from([{"failed"}, {"failed", "cancelled"}]),
        how=st.sampled_from(["all", "all", "some", "payloads"]),
        cut=st.sampled_from([None, None, 1, 2, 3]),
    )
    def retry(self, data: st.DataObject, states: set[str], how: str, cut: int | None) -> None:
        batch = self.some_batch(data)
        chosen = [task for task in batch.tasks if task.state in states]
        some = self.some_tasks(data, batch.tasks) if how != "all" else batch.tasks
        chosen = [task for task in chosen if task in some]
        self.serial += 1
        payloads = {task.key: f'{{"again": {self.serial}}}' for task in some} if how == "payloads" else None
        ids = [task.id for task in some] if how == "some" else None
        if batch.bulk is not None:  # it finishes first what was interrupted
            self._finish_interrupted(batch)
            chosen, cut = [task for task in some if task.state in states], None
        with self._power_cut(cut) as happened:
            count = self.store.retry(batch.no, "ann", states=states, item_ids=ids, payloads=payloads)
        if not chosen:
            assert not happened()
            assert count == 0
            return
        self.reference.begin_retry(batch, some, states)
        if happened():
            self._adopt(batch, {"failed", "cancelled"}, lambda task: self.reference.reopen(task, payloads))
            if payloads:
                batch.wanted = frozenset()  # the payloads went with the process
        else:
            assert count == len(chosen)
            self.reference.end_retry(batch, payloads)

    @contextmanager
    def _power_cut(self, after: int | None) -> Iterator[Callable[[], bool]]:
        """The process dies before its write number `after` + 1."""
        whole, count, happened = self.engine.write, 0, False

        @contextmanager
        def write() -> Iterator[Any]:
            nonlocal count
            count += 1
            if after is not None and count > after:
                raise PowerCut
            with whole() as tx:
                yield tx

        self.engine.write = write  # type: ignore[method-assign]
        try:
            yield lambda: happened
        except PowerCut:
            happened = True
        finally:
            self.engine.write = whole  # type: ignore[method-assign]

    def _adopt(self, batch: Batch, leaving: set[str], change: Callable[[Task], None]) -> None:
        """How far an interrupted act came is its own business; that it did nothing else is not."""
        states = dict(self.eyes.execute("SELECT id, state FROM items WHERE batch_no = ?", (batch.no,)).fetchall())
        for task in batch.tasks:
            if states[task.id] != task.state and task.state in leaving:
                change(task)

    @rule()
    def recover(self) -> None:
        """What interrupted acts and dead loads left behind is finished."""
        assert bulk.finish_interrupted(self.engine) == sum(b.bulk is not None for b in self.reference.batches.values())
        for batch in self.reference.batches.values():
            self._finish_interrupted(batch)
        loading.abort_abandoned(self.engine)
        assert not self.eyes.execute("SELECT 1 FROM batches WHERE status IN ('loading', 'deleting')").fetchall()

    def _finish_interrupted(self, batch: Batch) -> None:
        if batch.bulk == "cancel":
            self.reference.end_cancel(batch)
        elif batch.bulk == "retry":
            self.reference.end_retry(batch)

    @rule(data=st.data(), gate=st.sampled_from(GATES), until=st.sampled_from([None, 1_000, 60_000]))
    def gates_move(self, data: st.DataObject, gate: str, until: int | None) -> None:
        batch, name = self.some_batch(data), data.draw(st.sampled_from([*PROCESSORS, EVERYTHING]), label="processor")
        match gate:
            case "pause":
                self._pause_batch(batch, until)
            case "resume":
                assert self.store.resume([batch.no], "ann") == batch.paused
                batch.paused, batch.paused_until = False, None
            case "pause processor":
                self.store.pause_processor(name, self.later(until), "ann")
                self.reference.paused[name] = self.later(until)
            case "resume processor":
                self._resume(name)
            case "resume all":
                self._resume(EVERYTHING)
            case "break" | "mend" if name != EVERYTHING:
                self._break_or_mend(name, mend=gate == "mend")
            case "priority":
                priority = data.draw(st.sampled_from([kit.HIGH, kit.NORMAL, kit.LOW]))
                self.store.alter(batch.no, "ann", priority=priority)
                batch.priority = int(priority)
            case "schedule":
                batch.not_before = self.later(data.draw(st.sampled_from([None, -5, 1_000, 60_000])))
                self.store.alter(batch.no, "ann", not_before=batch.not_before)

    def _pause_batch(self, batch: Batch, until: int | None) -> None:
        assert self.store.pause([batch.no], self.later(until), "ann") == (not batch.finished)
        if not batch.finished:
            batch.paused, batch.paused_until = True, self.later(until)

    def _resume(self, name: str) -> None:
        self.store.resume_processor(name, "ann")
        reference = self.reference
        opened = {name, *reference.paused} if name == EVERYTHING else {name}
        reference.paused = {one: until for one, until in reference.paused.items() if one not in opened}
        reference.broken -= opened
        if name == EVERYTHING:
            for batch in reference.unfinished():
                batch.paused, batch.paused_until = False, None

    def _break_or_mend(self, name: str, *, mend: bool) -> None:
        if not self.eyes.execute("SELECT 1 FROM processors WHERE name = ?", (name,)).fetchone():
            return
        with self.engine.write() as tx:
            if mend:
                mend_changed(tx, {name: Healthy()}, self.now(), mark_problems=True)
            else:
                break_processor(tx, name, ItemError("Unauthorized", "401"), "old config", self.now())
        (self.reference.broken.discard if mend else self.reference.broken.add)(name)

    @rule()
    def enqueue_the_same(self) -> None:
        """The same content is refused while it is unfinished; an idempotency key answers with its batch for ever."""
        self.serial += 1
        content, key = f"same {self.serial}", f"key {self.serial}"
        twin = kit.load(self.store, ["x"], content=content, idempotency_key=key)
        again = kit.begin(self.store, idempotency_key=key)
        again.add(kit.orders(["x"]))
        loaded = again.finish(content, again=False)
        assert (loaded.batch_nos, loaded.existing) == (twin, True)
        for act, what in ((kit.begin(self.store), content), (kit.begin(self.store, idempotency_key=key), "other")):
            act.add(kit.orders(["x"]))
            with pytest.raises(DuplicateBatch):
                act.finish(what, again=False)
        self.reference.add(Batch(twin[0], "p", "", 1, None), self._stored(twin[0]))

    def _stored(self, no: int) -> list[tuple[int, str, int, str]]:
        return self.eyes.execute(
            "SELECT i.id, i.key, i.position, d.payload FROM items i JOIN item_data d ON d.item_id = i.id"
            " WHERE i.batch_no = ? ORDER BY i.id",
            (no,),
        ).fetchall()

    # -- what must hold after every step

    @invariant()
    def items_are_as_told(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.eyes.execute(
            "SELECT i.id, i.state, i.claim_no, i.attempts_used, i.worker_id, i.suspect, i.crashes, i.cancel_requested,"
            " i.next_attempt_at, i.key, d.payload, i.batch_no, i.organization"
            " FROM items i JOIN batches b ON b.no = i.batch_no JOIN item_data d ON d.item_id = i.id"
            " WHERE b.status NOT IN ('loading', 'deleting')"
        ).fetchall()
        tasks = self.reference.tasks.values()
        assert sorted(rows) == sorted(
            (t.id, t.state, t.claim_no, t.used, t.worker, t.suspect, t.crashes, t.told, t.due, t.key, t.payload,
             t.batch.no, t.batch.organization)
            for t in tasks
        )  # fmt: skip
        for task in tasks:
            assert task.claim_no >= self.claims.get(task.id, 0), "a claim number fell"
            self.claims[task.id] = task.claim_no
        attempts = self.eyes.execute("SELECT item_id, claim_no, outcome, counted FROM attempts").fetchall()
        told = [(t.id, claim, outcome, counted) for t in tasks for claim, (outcome, counted) in t.attempts.items()]
        assert sorted(attempts) == sorted(told)

    @invariant()
    def batches_are_as_told(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.eyes.execute(
            "SELECT no, status, total_items, completed_items, failed_items, cancelled_items, run_no,"
            " completed_at IS NOT NULL, started_at IS NOT NULL, bulk, priority, not_before"
            " FROM batches WHERE status NOT IN ('loading', 'deleting') ORDER BY no"
        ).fetchall()
        assert rows == [
            (b.no, b.status, len(b.tasks), b.count("completed"), b.count("failed"), b.count("cancelled"), b.run_no,
             b.finished, b.begun, b.bulk, b.priority, b.not_before)
            for b in self.reference.batches.values()
        ]  # fmt: skip
        ends = self.eyes.execute(
            "SELECT batch_no, detail ->> 'run_no', event FROM events"
            " WHERE event IN ('completed', 'completed_with_errors', 'failed', 'cancelled') ORDER BY id"
        ).fetchall()
        assert sorted(ends) == sorted((b.no, *end) for b in self.reference.batches.values() for end in b.ends)

    @invariant()
    def nothing_is_stranded(self) -> None:
        """Whatever a claim may take, the claim's index leads to it."""
        if not hasattr(self, "store"):
            return
        groups = {
            row[0]: row[1:]
            for row in self.eyes.execute(
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


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=int(os.environ.get("BATCHCTL_TEST_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
)
