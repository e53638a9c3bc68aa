"""The queue as the contract tells it, in plain Python: what the stateful test holds a real store against."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from batchctl.model import Item
from batchctl.store import Scope
from batchctl.transitions.recording import Settled

FINAL = ("completed", "failed", "cancelled")


@dataclass
class Task:
    """One item."""

    id: int
    key: str
    position: int
    payload: str
    batch: Batch
    state: str = "pending"
    claim_no: int = 0
    used: int = 0
    worker: str | None = None
    suspect: bool = False
    crashes: int = 0
    told: bool = False
    due: int | None = None
    attempts: dict[int, tuple[str, bool]] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def become(self, state: str, *, due: int | None = None) -> None:
        self.state, self.due, self.worker, self.told = state, due, None, False


@dataclass
class Batch:
    """One batch; `ends` has each finish as (run_no, status); an open retry takes what is in `retried_states` among
    `wanted`, past the item `after`."""

    no: int
    processor: str
    organization: str
    priority: int
    not_before: int | None
    tasks: list[Task] = field(default_factory=list)
    paused: bool = False
    paused_until: int | None = None
    cancelled: bool = False
    bulk: str | None = None
    wanted: frozenset[int] = frozenset()
    retried_states: frozenset[str] = frozenset()
    after: int = 0
    run_no: int = 1
    begun: bool = False
    reopened: bool = False
    ends: list[tuple[int, str]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return bool(self.ends) and self.ends[-1][0] == self.run_no

    @property
    def status(self) -> str:
        if self.finished:
            return self.ends[-1][1]
        return "processing" if self.begun or self.reopened else "pending"

    def count(self, state: str) -> int:
        return sum(task.state == state for task in self.tasks)

    def end_if_done(self) -> None:
        if self.finished or self.bulk is not None or not all(task.final for task in self.tasks):
            return
        completed, failed, cancelled = (self.count(state) for state in FINAL)
        if self.cancelled or (not failed and cancelled):
            status = "cancelled"
        elif not failed:
            status = "completed"
        else:
            status = "completed_with_errors" if completed else "failed"
        self.ends.append((self.run_no, status))


@dataclass
class Reference:
    """All batches and gates. Each method does what one call of the store does."""

    batches: dict[int, Batch] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    paused: dict[str, int | None] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def add(self, batch: Batch, rows: Iterable[tuple[int, str, int, str]]) -> None:
        self.batches[batch.no] = batch
        for number, key, position, payload in rows:
            assert number not in self.tasks, "an item number was used twice"
            self.tasks[number] = Task(number, key, position, payload, batch)
            batch.tasks.append(self.tasks[number])

    def unfinished(self) -> list[Batch]:
        return [batch for batch in self.batches.values() if not batch.finished]

    def known(self, processor: str, organization: str) -> set[str]:
        """Keys that --skip-known leaves out."""
        return {
            task.key
            for task in self.tasks.values()
            if (task.batch.processor, task.batch.organization) == (processor, organization)
            and task.state not in ("failed", "cancelled")
        }

    def held(self, worker: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.worker == worker]

    # -- claiming

    def promote(self, now: int) -> None:
        for task in self.tasks.values():
            if task.state == "waiting" and task.due is not None and task.due <= now:
                task.become("pending")
        for batch in self.unfinished():
            if batch.paused and batch.paused_until is not None and batch.paused_until <= now:
                batch.paused, batch.paused_until = False, None
        self.paused = {name: until for name, until in self.paused.items() if until is None or until > now}

    def _open(self, batch: Batch, scope: Scope, now: int) -> bool:
        return (
            scope.covers(batch.no, batch.processor, batch.organization)
            and batch.processor in scope.processors
            and not self.paused.keys() & {"*", batch.processor}
            and batch.processor not in self.broken
            and not batch.paused
            and batch.bulk != "cancel"
            and (batch.not_before is None or batch.not_before <= now)
        )

    def claimable(self, scope: Scope, now: int, *, suspects: bool = False) -> list[Task]:
        """In the contract's order, but for the turns of organizations."""
        tasks = [
            task
            for task in self.tasks.values()
            if task.state == "pending" and task.suspect is suspects and self._open(task.batch, scope, now)
        ]
        return sorted(tasks, key=lambda task: (task.batch.priority, task.batch.no, task.position))

    def rooms(self, scope: Scope) -> dict[str, int]:
        busy = [task.batch.processor for task in self.tasks.values() if task.state == "processing"]
        return {name: max(0, scope.limits.get(name, 1 << 30) - busy.count(name)) for name in scope.processors}

    def check_claim(self, items: list[Item], scope: Scope, limit: int, now: int) -> None:
        """What was claimed is what the contract says, and as much of it."""
        able, rooms = self.claimable(scope, now), self.rooms(scope)
        taken = [self.tasks[item.number] for item in items]
        left = [task for task in able if task not in taken]
        assert all(task in able for task in taken), "claimed what may not be claimed"
        assert len({task.id for task in taken}) == len(taken)
        for name in rooms:
            rooms[name] -= sum(task.batch.processor == name for task in taken)
        assert all(room >= 0 for room in rooms.values()), "over a processor's limit"
        passed_over = [task for task in left if rooms[task.batch.processor]]
        if len(taken) < limit:
            assert not passed_over, "what may be claimed was left behind"
        for after in taken:
            for before in passed_over:
                assert before.batch.priority >= after.batch.priority, "a lower priority went first"
                same = (before.batch.organization, before.batch.priority) == (
                    after.batch.organization,
                    after.batch.priority,
                )
                assert not same or before.batch.no >= after.batch.no, "a younger batch went first"
        for after in taken:
            for before in left:
                assert before.batch is not after.batch or before.position > after.position, "not in input order"

    def claim(self, items: Iterable[Item], worker: str) -> None:
        for item in items:
            task = self.tasks[item.number]
            task.become("processing")
            task.claim_no += 1
            task.worker = worker
            task.batch.begun = True
            assert (item.claim_no, item.attempt, item.suspect) == (task.claim_no, task.used + 1, task.suspect)
            assert (item.key, item.position, item.raw_payload) == (task.key, task.position, task.payload)

    # -- outcomes

    def mine(self, one: Settled, worker: str) -> bool:
        task = self.tasks[one.item_id]
        return task.state == "processing" and (task.worker, task.claim_no) == (worker, one.claim_no)

    def record(self, worker: str, settled: Iterable[Settled]) -> set[tuple[int, int]]:
        """The claims whose outcome counts; the others change nothing."""
        ours = set()
        for one in settled:
            if self.mine(one, worker):
                ours.add((one.item_id, one.claim_no))
                self._settle(self.tasks[one.item_id], one)
        for number, _ in ours:
            self.tasks[number].batch.end_if_done()
        return ours

    def _settle(self, task: Task, one: Settled) -> None:
        told = task.told or task.batch.cancelled
        state = "cancelled" if told and not one.state.final else str(one.state)
        task.become(state, due=one.next_attempt_at if state == "waiting" else None)
        task.used += one.counted
        if one.outcome is not None:
            task.attempts[one.claim_no] = (str(one.outcome), one.counted)

    def release(self, worker: str, started: Collection[int] | None, max_crashes: int) -> int:
        """The worker died with `started` begun; None: the machine went down."""
        held = self.held(worker)
        for task in held:
            begun = started is not None and task.id in started
            alone, was_told = task.suspect, task.told or task.batch.cancelled
            if begun:
                task.crashes += alone
                task.suspect = True
                task.attempts[task.claim_no] = ("crashed", False)
            fatal = begun and alone and task.crashes >= max_crashes
            task.become("failed" if fatal else "cancelled" if was_told else "pending")
        for task in held:
            task.batch.end_if_done()
        return len(held)

    # -- control

    def begin_cancel(self, batch: Batch) -> None:
        batch.cancelled, batch.bulk = True, "cancel"
        for task in batch.tasks:
            task.told = task.told or task.state == "processing"

    def end_cancel(self, batch: Batch) -> int:
        ended = [task for task in batch.tasks if task.state in ("pending", "waiting")]
        for task in ended:
            task.become("cancelled")
        batch.bulk = None
        batch.end_if_done()
        return len(ended)

    def cancel_tasks(self, tasks: Iterable[Task]) -> int:
        ended = 0
        for task in tasks:
            if task.state in ("pending", "waiting"):
                task.become("cancelled")
                ended += 1
                task.batch.end_if_done()
            elif task.state == "processing":
                task.told = True
        return ended

    def begin_retry(self, batch: Batch, wanted: Iterable[Task], states: Collection[str]) -> None:
        if batch.finished:
            batch.run_no += 1
            batch.reopened = True
        batch.cancelled, batch.bulk = False, "retry"
        batch.wanted, batch.retried_states = frozenset(task.id for task in wanted), frozenset(states)
        batch.after = 0

    def reopen(self, task: Task, payloads: Mapping[str, str] | None = None) -> None:
        task.become("pending")
        task.used, task.crashes, task.suspect = 0, 0, False
        task.batch.after = max(task.id, task.batch.after)
        if payloads:
            task.payload = payloads[task.key]

    def end_retry(self, batch: Batch, payloads: Mapping[str, str] | None = None) -> None:
        """What has failed while the retry was open goes back with the others, but nothing goes back twice."""
        for task in batch.tasks:
            if task.id in batch.wanted and task.id > batch.after and task.state in batch.retried_states:
                self.reopen(task, payloads)
        batch.bulk = None
        batch.end_if_done()
