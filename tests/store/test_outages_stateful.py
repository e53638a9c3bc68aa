"""Any sequence of outages, steps, crashes and what people do: no attempt is spent on an outage, one probe at a time
goes out, what a step has found stays, and when the receivers are back nothing is stuck."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from batchctl.model import AttemptOutcome, Item, ItemError, ItemState, Kept, StepPath, WaitingFor
from batchctl.store import Scope
from batchctl.transitions import bulk, outage_ends, recovering, steps
from batchctl.transitions.outages import Kind, Sign, weigh
from batchctl.transitions.recording import Settled, record
from store import kit
from store.lanekit import Definition, Rules, adopt, laned
from store.machine_store import WORKERS, StoreMachine, thorough

RETRIES = 2
STEPS = ("one", "two")
ACTS = ["pause", "resume", "resume", "cancel", "retry", "retry"]
ROWS = "SELECT i.id, i.state, i.waiting_for, i.attempts_used, b.status FROM items i JOIN batches b ON b.no = i.batch_no"


pytestmark = pytest.mark.slow


class OutageMachine(StoreMachine):
    """One store, two workers, receivers A, B and C that answer or do not. `gates`: all items ask receiver A."""

    @initialize(gates=st.booleans(), lanes=st.booleans())
    def open(self, gates: bool, lanes: bool) -> None:
        self.begin(Scope(frozenset({"p"}), paced=frozenset({"p"}) if lanes else frozenset()))
        for module, name in ((bulk, "_CHUNK"), (recovering, "_CHUNK"), (outage_ends, "_PORTION")):
            self.patch.setattr(module, name, 2)
        self.gates, self.lanes = gates, lanes
        self.down: set[str] = set()
        self.sent: dict[str, dict[int, bool]] = {name: {} for name in WORKERS}  # item: whether it is a probe
        self.since: dict[str, list[tuple[int, int]]] = defaultdict(list)  # tries in vain since the last answer
        self.found: dict[int, dict[str, str]] = defaultdict(dict)
        self.origins: dict[int, str] = {}
        self.batches: list[int] = []
        if lanes:
            adopt(self.store, Definition(Rules()))
        self.enqueue("AAAABC")

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.everything_can_end()
        finally:
            super().teardown()

    # -- the world

    @rule(names=st.text("ABC", min_size=1, max_size=8))
    def enqueue(self, names: str) -> None:
        self.serial += 1
        rows = laned(names) if self.lanes else kit.orders([f"{n}{name}" for n, name in enumerate(names)])
        (no,) = kit.load(self.store, rows, content=str(self.serial))
        self.batches.append(no)
        ids = sorted(self.items_of(no))
        self.origins |= {number: "A" if self.gates else name for number, name in zip(ids, names, strict=True)}

    def items_of(self, no: int) -> set[int]:
        return {number for number, batch_no in self.eyes("SELECT id, batch_no FROM items") if batch_no == no}

    @rule(origin=st.sampled_from("AAABC"), down=st.booleans())
    def a_receiver_goes_or_comes(self, origin: str, down: bool) -> None:
        (self.down.add if down else self.down.discard)(origin)

    @rule(ms=st.sampled_from([100, 5_000, 5_000, 30_000, 400_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    @rule(data=st.data(), what=st.sampled_from(ACTS))
    def do_to_a_batch(self, data: st.DataObject, what: str) -> None:
        no = data.draw(st.sampled_from(self.batches))
        match what:
            case "pause":
                self.store.pause([no], None, None)
            case "resume":
                self.store.resume([no], None)
            case "cancel":
                self.store.cancel_batch(no, None)
            case "retry":
                self.store.retry(no, None, states=("failed", "cancelled"))
                again = self.items_of(no)
                for origin in self.since:  # their attempts are fresh
                    self.since[origin] = [one for one in self.since[origin] if one[0] not in again]

    # -- workers

    @rule(name=st.sampled_from(WORKERS), limit=st.sampled_from([1, 2, 3, 100]))
    def claim(self, name: str, limit: int) -> None:
        self._send(name, self.workers[name].claim(limit))

    @rule(name=st.sampled_from(WORKERS))
    def all_are_tried_in_vain(self, name: str) -> None:
        self.down.add("A")
        self.claim(name, 100)
        self.answers_come(name, 4, False)

    @rule(name=st.sampled_from(WORKERS), up=st.booleans())
    def the_next_probe_goes_out(self, name: str, up: bool) -> None:
        (self.down.discard if up else self.down.add)("A")
        due = [at for (at,) in self.eyes("SELECT probe_at FROM outages WHERE probe_at IS NOT NULL")]
        self.clock.ms = max([self.clock.ms, *due])
        self.claim(name, 100)

    @rule(name=st.sampled_from(WORKERS))
    def claim_a_suspect(self, name: str) -> None:
        if not self.hands[name] and (suspect := self.workers[name].claim_suspect()) is not None:
            self._send(name, [suspect])

    def _send(self, name: str, items: list[Item]) -> None:
        """What a worker does with what it has claimed: it asks receivers that are not known to be out."""
        now = self.clock()
        out = {one.origin: one for one in self.workers[name].claimer.origins if one.out(now)}
        with self.store.engine.read() as tx:
            items = steps.brought(tx, items, {"p"})
        unsent = []
        for item in items:
            assert item.steps == self.found[item.number], "what a step has found is lost"
            closed = out.get(self.origins[item.number])
            if closed is not None and not closed.gates and closed.probe_item != item.number:
                unsent.append(item)
                continue
            self.hands[name][item.number] = item
            self.sent[name][item.number] = closed is not None
        self._tell(name, [(item, Kind.UNSENT) for item in unsent])

    @rule(name=st.sampled_from(WORKERS), step=st.sampled_from(STEPS))
    def a_step_ends(self, name: str, step: str) -> None:
        """Of the first item in hand; never one that is kept already."""
        for item in list(self.hands[name].values())[:1]:
            if step not in self.found[item.number]:
                value = f"{step} by {item.claim_no}"
                kept = Kept(step, STEPS.index(step), "m", StepPath.STEP, True, 0, self.clock(), f'"{value}"')
                with self.store.engine.write(shared=True) as tx:
                    assert steps.keep(tx, name, [(item.number, item.claim_no, kept)]) == {item.number}
                self.found[item.number][step] = value

    @rule(name=st.sampled_from(WORKERS), count=st.integers(1, 4), hand_back=st.booleans())
    def answers_come(self, name: str, count: int, hand_back: bool) -> None:
        items = sorted(self.hands[name].values(), key=lambda item: item.number)[:count]
        back = items[1:] if hand_back else []
        self.workers[name].give_back(*back)
        for item in back:
            self._forget(name, item)
        ends = [item for item in items if item not in back]
        self._tell(name, [(item, Kind.DOWN if self._is_down(item) else Kind.ANSWER) for item in ends])

    def _is_down(self, item: Item) -> bool:
        return self.origins[item.number] in self.down

    def _forget(self, name: str, item: Item) -> None:
        self.hands[name].pop(item.number, None)
        self.sent[name].pop(item.number, None)

    def _tell(self, name: str, ends: list[tuple[Item, Kind]]) -> None:
        now = self.clock()
        settled = [self._settled(item, kind, now) for item, kind in ends]
        signs = [Sign(at, kind, "p", self.origins[item.number], self.gates) for at, (item, kind) in enumerate(ends)]
        with self.store.engine.write(shared=True) as tx:
            weighed = weigh(tx, settled, signs, now)
            record(tx, name, weighed.settled, now, weighed)
        for item, kind in ends:
            self._forget(name, item)
            if kind is Kind.ANSWER:
                self.since.pop(self.origins[item.number], None)
            elif kind is Kind.DOWN:
                self.since[self.origins[item.number]].append((item.number, item.claim_no))

    @staticmethod
    def _settled(item: Item, kind: Kind, now: int) -> Settled:
        if kind is Kind.ANSWER:
            return kit.completed(item, now)
        error = ItemError("ConnectError", "refused")
        if item.attempt > RETRIES:
            return kit.settled(item, now, ItemState.FAILED, AttemptOutcome.FAILED, error=error)
        again: dict[str, Any] = {"waiting_for": WaitingFor.RETRY, "next_attempt_at": now + 100}
        return kit.settled(item, now, ItemState.WAITING, AttemptOutcome.RETRY, error=error, **again)

    @rule(name=st.sampled_from(WORKERS), begun=st.booleans())
    def a_worker_dies(self, name: str, begun: bool) -> None:
        held = self.hands[name].values()
        started = frozenset((item.number, item.claim_no) for item in held) if begun else frozenset()
        recovering.release_worker(self.store.engine, name, started, 1_000)
        self.hands[name].clear()
        self.sent[name].clear()

    # -- what must hold

    @invariant()
    def one_probe_at_a_time(self) -> None:
        if hasattr(self, "batches"):
            probes = [self.origins[n] for sent in self.sent.values() for n, probes in sent.items() if probes]
            out = {origin for (origin,) in self.eyes("SELECT origin FROM outages WHERE out_since IS NOT NULL")}
            assert all(probes.count(origin) <= 1 for origin in out), "two ask a receiver that is down"

    @invariant()
    def an_outage_costs_nothing(self) -> None:
        """Once all is refunded, no try since the last answer counts, and none of them has failed."""
        if not hasattr(self, "batches"):
            return
        counted = set(self.eyes("SELECT item_id, claim_no FROM attempts WHERE counted = 1"))
        for (origin,) in self.eyes("SELECT origin FROM outages WHERE out_since IS NOT NULL AND refund = 0"):
            assert not counted.intersection(self.since[origin]), "an outage has cost an attempt"
        wrong = self.eyes(
            "SELECT i.id FROM items i WHERE i.attempts_used <>"
            " (SELECT count(*) FROM attempts a WHERE a.item_id = i.id AND a.counted = 1)"
            " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.batch_no = i.batch_no AND e.event = 'retry')"
        )
        assert not wrong

    @precondition(lambda self: len(getattr(self, "batches", ())) > 3)
    @rule()
    def everything_can_end(self) -> None:
        """When the receivers are back, all items come to their end by themselves."""
        self.down.clear()
        for name in WORKERS:
            self._tell(name, [(item, Kind.ANSWER) for item in self.hands[name].values()])
        for no in self.batches:
            self.store.resume([no], None)
        for _ in range(1_000):
            if not self.hands["w1"]:
                self.claim_a_suspect("w1")
            if not self.hands["w1"]:
                self.claim("w1", 3)
            idle = not self.hands["w1"]
            self.answers_come("w1", 3, False)
            self.clock.advance(30_000 if idle else 0)
            left = self.eyes(f"{ROWS} WHERE i.state IN ('pending', 'waiting', 'processing')")
            if idle and not left:
                return
        raise AssertionError(f"something is stuck: {left}")


class SqliteOutages(OutageMachine):
    kind = "sqlite"


TestSqliteOutages = SqliteOutages.TestCase
TestSqliteOutages.settings = thorough(20)
