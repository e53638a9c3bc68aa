"""claim: a few items for the free slots, in the contract's order, in one short transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchctl.engines.base import Engine, Row, Tx
from batchctl.guard import Origin
from batchctl.model import BatchKind, BatchRef, Item
from batchctl.transitions import adapting, outage_ends, pacing
from batchctl.transitions.common import wake
from batchctl.transitions.file_facts import file_ref
from batchctl.transitions.outages import troubled
from batchctl.transitions.promoting import promote
from batchctl.transitions.scope import Scope
from batchctl.transitions.turns import TURN, Passed, Portion, Want, portions
from batchctl.transitions.whereabouts import Whereabouts


@dataclass(slots=True)
class _Taken:
    """What one claim has taken.

    rows      of `claim_items`, all of them
    begun     batches whose first items are among them
    paced     those of a processor whose starts are to be reserved
    probes    the row that probes a processor that an outage has shut
    unmarked  what each portion of the last take gave, where `_mark` has yet to follow
    """

    rows: list[Row] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)
    paced: dict[str, list[Row]] = field(default_factory=dict)
    probes: dict[str, Row] = field(default_factory=dict)
    unmarked: list[tuple[Portion, int]] = field(default_factory=list)

    def add(self, portion: Portion, found: Sequence[Row], *, paced: bool, shut: bool) -> None:
        """What a portion gave; whether its processor is paced, or shut by an outage."""
        self.rows += found
        if found and shut:
            self.probes[portion.processor] = found[0]
        if paced:
            self.paced.setdefault(portion.processor, []).extend(found)
        if found and not portion.started:
            self.begun.add(portion.batch_no)


@dataclass(slots=True)
class Claimer:
    """Claims for one worker; caches what does not change about the batches it has met.

    whereabouts  which files are here; what is not here is left to others
    opens_at     ms UTC: when the next claim may find something that only waits for its rate
    origins      those in trouble, as the last claim found them
    """

    engine: Engine
    worker_id: str
    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    opens_at: float | None = None
    origins: Sequence[Origin] = ()
    _shut: Mapping[str, Origin | None] = field(default_factory=dict)
    _passed: Passed = field(default_factory=Passed)
    _paces: Mapping[str, pacing.Pace] = field(default_factory=dict)
    _batches: dict[int, tuple[BatchRef, str, str | None]] = field(default_factory=dict)

    def forget(self) -> None:
        """Something about batches has changed: read them anew."""
        self._batches.clear()

    def look_around(self, tx: Tx) -> None:
        """Files and folders come and go: find anew what is here."""
        if self.whereabouts.places.judging:
            self.forget()
            self.whereabouts.look_around(tx)

    def claim(self, tx: Tx, scope: Scope, limit: int, now: int, free: int | None = None) -> list[Item]:
        """At most `limit` items that are due, none of them a suspect; of processors with lanes or a rate at most
        `free` (the slots that are free, None: as many as the limit). Afterwards `opens_at` (ms UTC) says when the next
        claim may find something that only waits for its rate."""
        self._tend(tx, scope, now)
        promote(tx, now, paced=bool(scope.paced))
        self._look_at_paces(tx, scope)
        want = Want(limit, self._rooms(tx, scope, now, limit if free is None else min(limit, free)))
        taken = self._gather(tx, scope, want, now)
        starts, woken = self._reserve(tx, taken.paced, taken.rows, now)
        self._note_probes(tx, taken.probes, taken.rows)
        items = self._items(tx, taken.rows, starts)  # before the marks: these hold others up until our commit
        _begin(tx, taken.begun, now)
        self._mark(tx, taken.unmarked)
        _mark_started(tx, taken.begun)
        wake(tx, woken)
        self.opens_at = pacing.opens_at(tx) if scope.paced and want.left > 0 else None
        return items

    def _gather(self, tx: Tx, scope: Scope, want: Want, now: int) -> _Taken:
        """Take portions until there is as much as is wanted (the last of them is not marked yet), or nothing left."""
        taken = _Taken()
        self._passed = Passed(self.whereabouts.not_here())
        for asked in portions(tx, scope.batch_nos, scope.organization, want, self._passed) if want.left > 0 else ():
            if self._pass_over(tx, [portion.batch_no for portion in asked]):
                continue
            found = self._take(tx, asked, now)
            for portion, rows in found:
                want.less(portion.processor, len(rows))
                paced, shut = portion.processor in self._paces, portion.processor in self._shut
                taken.add(portion, rows, paced=paced, shut=shut)
            taken.unmarked = [(portion, len(rows)) for portion, rows in found]
            if want.left <= 0:
                break
            self._mark(tx, taken.unmarked)
            taken.unmarked = []
        return taken

    def _tend(self, tx: Tx, scope: Scope, now: int) -> None:
        """What outages have left to do; afterwards `origins` are those in trouble."""

        def covers(batch_no: int, processor: str, organization: str) -> bool:
            return scope.covers(batch_no, processor, organization) and scope.knows(processor)

        tended = outage_ends.tend(tx, covers, now)
        self.origins = tended.origins
        if tended.changed:
            tx.part()

    def _note_probes(self, tx: Tx, probes: Mapping[str, Row], kept: Sequence[Row]) -> None:
        """Where an outage has shut the processor, the one item that was claimed probes it."""
        if probes:
            numbers = {row[0] for row in kept}
            for processor, row in probes.items():
                origin = self._shut[processor]
                if origin is not None and row[0] in numbers:
                    outage_ends.begin_probe(tx, origin, row[0], row[4])

    def _look_at_paces(self, tx: Tx, scope: Scope) -> None:
        """Until the transaction's end nobody else changes them."""
        self._paces = {}
        if scope.paced:
            tx.value("lock_lanes")
            self._paces = pacing.paces(tx)

    def _reserve(
        self, tx: Tx, claimed: Mapping[str, Sequence[Row]], rows: list[Row], now: int
    ) -> tuple[Mapping[int, int], Collection[int]]:
        """When what was claimed is to start, and the batches to wake. What was claimed too early leaves `rows`."""
        if not any(claimed.values()):
            return {}, ()
        reserved = pacing.reserve(tx, self._paces, claimed, now)
        if not reserved.early:
            return reserved.starts, ()
        early = {row[0] for row in reserved.early}
        rows[:] = [row for row in rows if row[0] not in early]
        return reserved.starts, pacing.give_up(tx, reserved.early, self.worker_id, now)

    @property
    def contended(self) -> bool:
        """The last claim passed over items that others were about to claim: what becomes of them is known soon."""
        return not self.whereabouts.explain(self._passed.groups)

    def claim_suspect(self, tx: Tx, scope: Scope, now: int) -> Item | None:
        """One item in whose hands a worker died; the caller has nothing else in hand."""
        self._tend(tx, scope, now)
        self._look_at_paces(tx, scope)
        for number, batch_no, started, processor in self._suspects(tx, scope, now):
            row = tx.one("claim_item", {"id": number, "worker_id": self.worker_id, "now": now})
            if row:
                rows = [row]
                starts, woken = self._reserve(tx, {processor: rows}, rows, now)
                if not rows:
                    wake(tx, woken)
                    continue
                self._note_probes(tx, {processor: row} if processor in self._shut else {}, rows)
                if not started:
                    _begin(tx, {batch_no}, now)
                    tx.value("lock_turns")
                    _mark_started(tx, {batch_no})
                return self._items(tx, rows, starts)[0]
        return None

    def suspect_waits(self, tx: Tx, scope: Scope) -> bool:
        """True where `claim_suspect` would find one."""
        self._paces, self.origins = {}, troubled(tx)
        return next(self._suspects(tx, scope, self.engine.now(), take=False), None) is not None

    def _suspects(self, tx: Tx, scope: Scope, now: int, *, take: bool = True) -> Iterator[tuple[int, int, bool, str]]:
        rows = tx.all("open_suspects")
        rooms = self._rooms(tx, scope, now, 1, take=take) if rows else {}
        for number, processor, organization, batch_no, started in rows:
            if self.whereabouts.is_away(number) or not scope.covers(batch_no, processor, organization):
                continue
            if rooms.get(processor, 0) and not self._pass_over(tx, [batch_no]):
                yield number, batch_no, bool(started), processor

    def _rooms(self, tx: Tx, scope: Scope, now: int, free: int, *, take: bool = True) -> dict[str, int]:
        """How many items each open processor may still take."""
        rooms: dict[str, int] = {}
        self._shut = outage_ends.rooms(tx, self.origins, now, take=take) if self.origins else {}
        limits = scope.limits
        if scope.adaptive:
            limits = {**limits, **adapting.limits(tx, scope.adaptive)}
        if limits:
            tx.value("lock_turns")  # what others claim at this moment counts, too
        for name, paused, _, broken_since, _, failures_left in tx.all("processor_gates"):
            if name == "*" and paused:
                return {}
            if paused or broken_since is not None or not scope.knows(name):
                continue
            rooms[name] = 1 << 30
            if name in limits or failures_left is not None:
                held = tx.value("held_of_processor", {"processor": name})
                if name in limits:
                    rooms[name] = max(0, limits[name] - held)
                if failures_left is not None:  # so that no more than a limit and what runs at once can fail
                    rooms[name] = min(rooms[name], max(free, failures_left - held))
            if name in self._paces:
                rooms[name] = pacing.room(self._paces[name], now, min(rooms[name], free))
            if name in self._shut:
                rooms[name] = min(rooms[name], 1) if self._shut[name] is not None else 0
        return rooms

    def _take(self, tx: Tx, asked: Sequence[Portion], now: int) -> list[tuple[Portion, list[Row]]]:
        """What each of them gave. `_mark` has to follow."""
        groups = json.dumps([(portion.batch_no, self.whereabouts.behind(portion.batch_no)) for portion in asked])
        limit = asked[0].wanted
        found: dict[int, list[Row]] = {}
        for row in tx.all("claim_items", {"worker_id": self.worker_id, "now": now, "groups": groups, "limit": limit}):
            found.setdefault(row[1], []).append(row)
        return [(portion, sorted(found.get(portion.batch_no, ()))) for portion in asked]

    def _mark(self, tx: Tx, taken: Sequence[tuple[Portion, int]]) -> None:
        """Move the organizations' turns; a group that gave less than was asked for is empty, or in others' hands."""
        if not taken:
            return
        tx.value("lock_turns")
        for portion, count in taken:
            if count < portion.wanted and not self._is_empty(tx, portion.batch_no):
                self._passed.groups.add(portion.batch_no)
        moves = [
            {"priority": portion.priority, "organization": portion.organization, "count": count, "grace": TURN}
            for portion, count in taken
            if count
        ]
        tx.many("advance_turn", moves)

    def _is_empty(self, tx: Tx, batch_no: int) -> bool:
        """Mark the group where nothing in it is pending, not even for others."""
        return not self.whereabouts.is_mixed(batch_no) and tx.run("group_is_empty", {"batch_no": batch_no}) > 0

    def _pass_over(self, tx: Tx, batch_nos: Sequence[int]) -> bool:
        """Whether one of these was found to have no file here; then all of them are left alone for now."""
        if not self.whereabouts.places.judging:
            return False
        if unknown := set(batch_nos).difference(self._batches):
            self._meet(tx, unknown)
        found = self.whereabouts.not_here(batch_nos)
        self._passed.groups |= found
        return bool(found)

    def _items(self, tx: Tx, rows: Sequence[Row], starts: Mapping[int, int]) -> list[Item]:
        if not rows:
            return []
        ids = json.dumps([row[0] for row in rows])
        data = {row[0]: row for row in tx.all("claimed_data", {"ids": ids})}
        if unknown := {row[1] for row in rows}.difference(self._batches):
            self._meet(tx, unknown)
        return [self._item(row, data[row[0]], starts) for row in rows]

    def _item(self, row: Row, data: Row, starts: Mapping[int, int]) -> Item:
        number, batch_no, position, key, claim_no, attempts_used, suspect, lane_no, lane = row
        _, payload, file, idempotency_key = data
        ref, processor, definition = self._batches[batch_no]
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
            lane,
            lane_no,
            starts.get(number),
        )

    def _meet(self, tx: Tx, batch_nos: set[int]) -> None:
        for row in tx.all("batch_refs", {"nos": json.dumps(sorted(batch_nos))}):
            number, name, organization, user, kind, created_at, total, processor, definition, batch_no = row[:10]
            ref = BatchRef(number, name, organization or None, user, BatchKind(kind), created_at, total, batch_no)
            self._batches[batch_no] = (ref, processor, definition)
            self.whereabouts.meet(batch_no, *row[10:])


def _begin(tx: Tx, batch_nos: set[int], now: int) -> None:
    """The first items of these batches were claimed; their groups are marked later."""
    if batch_nos:
        tx.run("batches_started", {"batch_nos": json.dumps(sorted(batch_nos)), "now": now})


def _mark_started(tx: Tx, batch_nos: set[int]) -> None:
    """Mark the groups of these batches. `_begin` has come before."""
    if batch_nos:
        tx.run("groups_started", {"batch_nos": json.dumps(sorted(batch_nos))})
