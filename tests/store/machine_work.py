"""The stateful test's reference, and the rules of ordinary work: enqueue, claim, answer, drain."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from batchctl.model import AttemptOutcome, Incoming, Item, ItemError, ItemState
from batchctl.store import EVERYTHING, Scope
from batchctl.transitions import bulk, deleting, recovering
from batchctl.transitions.recording import Settled
from store import kit
from store.machine_store import WORKERS, StoreMachine
from store.reference import Batch, Reference, Task

PROCESSORS = ("p", "q")
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


class WorkMachine(StoreMachine):
    """One store in a real database, two workers, a clock, and the reference."""

    @initialize()
    def open(self) -> None:
        self.begin(kit.scope(*PROCESSORS))
        self.engine = self.store.engine
        for module in (bulk, recovering):
            self.patch.setattr(module, "_CHUNK", 2)
        for bound in ("_LEAST", "_FIRST", "_MOST"):
            self.patch.setattr(deleting, bound, 2)
        self.reference = Reference()
        self.lost: list[tuple[str, Item]] = []
        self.claims: dict[int, int] = {}
        for processor, organization in (("p", None), ("q", None), ("p", "a")):
            self.enqueue(9, processor, organization, kit.NORMAL)

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
