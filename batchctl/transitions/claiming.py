"""claim: a few items for the free slots, in the contract's order, in one short transaction."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchctl.engines.base import Engine, Row, Tx
from batchctl.model import BatchKind, BatchRef, FileRef, Item
from batchctl.transitions.common import event, open_group, wake

_TURN = 10  # items of one organization before the next has its turn
_DUE = 1_000  # retries, and gates, that one claim may wake: the next takes the rest
INLINE = "inline:"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a worker may claim.

    processors    those that its config knows and can run
    limits        how many items of a processor may run at once across all workers, where that is limited
    batch_nos     only these batches; None: every batch
    processor     only this one; None: every processor, also those that batches bring along
    organization  only this one; None: all
    """

    processors: frozenset[str]
    limits: Mapping[str, int] = field(default_factory=dict)
    batch_nos: tuple[int, ...] | None = None
    processor: str | None = None
    organization: str | None = None

    def knows(self, processor: str) -> bool:
        """Whether the worker can run items of the processor."""
        return processor in self.processors or (self.processor is None and processor.startswith(INLINE))

    def covers(self, batch_no: int, processor: str, organization: str) -> bool:
        """Whether a batch is the worker's business at all."""
        return (
            (self.batch_nos is None or batch_no in self.batch_nos)
            and self.processor in (None, processor)
            and self.organization in (None, organization)
        )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The next group in order; `shared` while another organization waits for its turn at the same priority."""

    processor: str
    priority: int
    turn: int
    organization: str
    batch_no: int
    started: bool
    shared: bool


@dataclass(slots=True)
class _Passed:
    """What one claim left alone: groups whose items others are about to claim, turns that lead to nothing else."""

    groups: set[int] = field(default_factory=set)
    turns: set[tuple[str, int, str]] = field(default_factory=set)


@dataclass(slots=True)
class Claimer:
    """Claims for one worker; caches what does not change about the batches it has met."""

    engine: Engine
    worker_id: str
    _passed: _Passed = field(default_factory=lambda: _Passed())
    _batches: dict[int, tuple[BatchRef, str, str | None]] = field(default_factory=dict)

    def forget(self) -> None:
        """Something about batches has changed: read them anew."""
        self._batches.clear()

    def claim(self, tx: Tx, scope: Scope, limit: int, now: int) -> list[Item]:
        """At most `limit` items that are due, none of them a suspect."""
        promote(tx, now)
        rooms = self._rooms(tx, scope)
        rows: list[Row] = []
        begun: set[int] = set()
        last: tuple[_Candidate, int, int] | None = None
        self._passed = _Passed()
        for candidate in _candidates(tx, scope, rooms, self._passed) if limit > 0 else ():
            wanted, taken = self._take(tx, candidate, limit - len(rows), rooms, now)
            rows += taken
            if taken and not candidate.started:
                begun.add(candidate.batch_no)
            if len(rows) >= limit:
                last = (candidate, wanted, len(taken))
                break
            self._mark(tx, candidate, wanted, len(taken))
        items = self._items(tx, rows)  # before the marks: these hold others up until our commit
        _begin(tx, begun, now)
        if last:
            self._mark(tx, *last)
        if begun:
            tx.run("groups_started", {"batch_nos": json.dumps(sorted(begun))})
        return items

    @property
    def contended(self) -> bool:
        """The last claim passed over items that others were about to claim: what becomes of them is known soon."""
        return bool(self._passed.groups)

    def claim_suspect(self, tx: Tx, scope: Scope, now: int) -> Item | None:
        """One item in whose hands a worker died; the caller has nothing else in hand."""
        for number, batch_no, started in self._suspects(tx, scope):
            row = tx.one("claim_item", {"id": number, "worker_id": self.worker_id, "now": now})
            if row:
                if not started:
                    _begin(tx, {batch_no}, now)
                    tx.value("lock_turns")
                    tx.run("groups_started", {"batch_nos": json.dumps([batch_no])})
                return self._items(tx, [row])[0]
        return None

    def suspect_waits(self, tx: Tx, scope: Scope) -> bool:
        """True where `claim_suspect` would find one."""
        return next(self._suspects(tx, scope), None) is not None

    def _suspects(self, tx: Tx, scope: Scope) -> Iterator[tuple[int, int, bool]]:
        rows = tx.all("open_suspects")
        rooms = self._rooms(tx, scope) if rows else {}
        for number, processor, organization, batch_no, started in rows:
            if scope.covers(batch_no, processor, organization) and rooms.get(processor, 0):
                yield number, batch_no, bool(started)

    def _rooms(self, tx: Tx, scope: Scope) -> dict[str, int]:
        """How many items each open processor may still take."""
        rooms: dict[str, int] = {}
        if scope.limits:
            tx.value("lock_turns")  # what others claim at this moment counts, too
        for name, paused, _, broken_since, _ in tx.all("processor_gates"):
            if name == "*" and paused:
                return {}
            if paused or broken_since is not None or not scope.knows(name):
                continue
            rooms[name] = 1 << 30
            if name in scope.limits:
                rooms[name] = max(0, scope.limits[name] - tx.value("held_of_processor", {"processor": name}))
        return rooms

    def _take(self, tx: Tx, group: _Candidate, wanted: int, rooms: dict[str, int], now: int) -> tuple[int, list[Row]]:
        """How many it asked for, and what it got. `_mark` has to follow."""
        wanted = min(wanted, rooms[group.processor])
        if group.shared:
            wanted = min(wanted, _TURN)
        row = {"worker_id": self.worker_id, "now": now, "batch_no": group.batch_no, "limit": wanted}
        taken = tx.all("claim_items", row)
        rooms[group.processor] -= len(taken)
        return wanted, sorted(taken)

    def _mark(self, tx: Tx, group: _Candidate, wanted: int, taken: int) -> None:
        """Move the organization's turn; a group that gave less than was asked for is empty, or in others' hands."""
        tx.value("lock_turns")
        if taken < wanted and not tx.run("group_is_empty", {"batch_no": group.batch_no}):
            self._passed.groups.add(group.batch_no)
        if taken:
            tx.run(
                "advance_turn",
                {"priority": group.priority, "organization": group.organization, "count": taken, "grace": _TURN},
            )

    def _items(self, tx: Tx, rows: Sequence[Row]) -> list[Item]:
        if not rows:
            return []
        ids = json.dumps([row[0] for row in rows])
        data = {row[0]: row for row in tx.all("claimed_data", {"ids": ids})}
        return [self._item(tx, row, data[row[0]]) for row in rows]

    def _item(self, tx: Tx, row: Row, data: Row) -> Item:
        number, batch_no, position, key, claim_no, attempts_used, suspect = row
        _, payload, file, idempotency_key = data
        ref, processor, definition = self._batches.get(batch_no) or self._batch(tx, batch_no)
        return Item(
            number,
            ref,
            processor,
            key,
            position,
            payload,
            file_ref(file) if file else None,
            idempotency_key,
            claim_no,
            attempts_used + 1,
            suspect == 1,
            definition,
        )

    def _batch(self, tx: Tx, batch_no: int) -> tuple[BatchRef, str, str | None]:
        row = tx.one("batch_ref", {"no": batch_no})
        assert row is not None
        number, name, organization, user, kind, created_at, total, processor, definition = row
        ref = BatchRef(number, name, organization or None, user, BatchKind(kind), created_at, total, batch_no)
        known = self._batches[batch_no] = (ref, processor, definition)
        return known


def file_ref(text: str) -> FileRef:
    """The stored facts of a file, its path as the bytes it had."""
    facts = json.loads(text)
    path, name = facts["path"], facts["name"]
    if "raw" in facts:
        path = os.fsdecode(base64.b64decode(facts["raw"]))
        name = path.rpartition("/")[2]
    return FileRef(path, name, facts["size"], facts["sha256"], facts["media_type"])


def promote(tx: Tx, now: int) -> None:
    """Open what time has opened: retries that are due, gates of schedules and timed pauses."""
    due = tx.all("due_retries", {"now": now, "limit": _DUE})
    if due:
        tx.many("make_due", [(number,) for number, _ in due])
    opening = sorted(no for (no,) in tx.all("gates_opening", {"now": now, "limit": _DUE}))
    for no in opening:
        if tx.run("unpause_expired", {"no": no, "now": now}):
            event(tx, "resumed", now, batch_no=no, actor="schedule")
    wake(tx, {batch_no for _, batch_no in due})
    for no in opening:
        open_group(tx, no, now)
    if tx.run("unpause_processors", {"now": now}) or due or opening:
        tx.part()  # a claim waits for batches, too, and these come before groups


def _begin(tx: Tx, batch_nos: set[int], now: int) -> None:
    """The first items of these batches were claimed; their groups are marked later."""
    if batch_nos:
        tx.run("batches_started", {"batch_nos": json.dumps(sorted(batch_nos)), "now": now})


def _candidates(tx: Tx, scope: Scope, rooms: Mapping[str, int], passed: _Passed) -> Iterator[_Candidate]:
    """Open groups in order. What is taken from one moves its organization's turn, and so the next."""
    if scope.batch_nos is not None:
        yield from _named(tx, scope, rooms, passed)
        return
    while candidate := _next_of_all(tx, scope, [name for name, room in rooms.items() if room > 0], passed):
        yield candidate


def _named(tx: Tx, scope: Scope, rooms: Mapping[str, int], passed: _Passed) -> Iterator[_Candidate]:
    while True:
        groups = tx.all("named_groups", {"batch_nos": json.dumps(scope.batch_nos)})
        rows = [
            row
            for row in groups
            if rooms.get(row[0], 0) > 0 and scope.organization in (None, row[3]) and row[4] not in passed.groups
        ]
        if not rows:
            return
        if len({row[3] for row in rows}) == 1:  # no turns to take: the order stands, however many batches there are
            yield from (_candidate(row, shared=False) for row in rows if rooms[row[0]] > 0)
            return
        yield _candidate(rows[0], shared=any(row[1] == rows[0][1] and row[3] != rows[0][3] for row in rows))


def _candidate(row: Row, *, shared: bool) -> _Candidate:
    processor, priority, turn, organization, batch_no, started = row
    return _Candidate(processor, priority, turn, organization, batch_no, bool(started), shared)


def _next_of_all(tx: Tx, scope: Scope, able: Collection[str], passed: _Passed) -> _Candidate | None:
    statement = "ready_turns" if scope.organization is None else "ready_turns_of"
    while True:
        where = {"organization": scope.organization, "limit": 2 + len(passed.turns)}
        heads = [(*row, name) for name in able for row in tx.all(statement, where | {"processor": name})]
        heads = [head for head in heads if (head[3], head[0], head[2]) not in passed.turns]
        if not heads:
            return None
        priority, turn, organization, _ = min(heads)
        shared = any(head[0] == priority and head[2] != organization for head in heads)
        group = _oldest(tx, [head for head in heads if head[:3] == (priority, turn, organization)], passed)
        if group:
            processor, batch_no, started = group
            return _Candidate(processor, priority, turn, organization, batch_no, bool(started), shared)


def _oldest(tx: Tx, heads: list[Row], passed: _Passed) -> tuple[str, int, int] | None:
    """The oldest open group of one organization at one priority, whatever its processor: (processor, batch, started).
    Turns that lead to none are closed."""
    found = []
    for priority, _, organization, processor in heads:
        where = {"processor": processor, "priority": priority, "organization": organization}
        group = tx.one("oldest_group", where | {"passed": json.dumps(sorted(passed.groups))})
        if group:
            found.append((group[0], group[1], processor))
            continue
        tx.value("lock_turns")
        if not tx.run("close_turn", where):
            passed.turns.add((processor, priority, organization))
    if not found:
        return None
    batch_no, started, processor = min(found)
    return processor, batch_no, started
