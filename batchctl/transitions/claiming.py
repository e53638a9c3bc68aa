"""claim: a few items for the free slots, in the contract's order, in one short transaction."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchctl import gcra
from batchctl.engines.base import Engine, Row, Tx
from batchctl.guard import Origin
from batchctl.model import BatchKind, BatchRef, FileRef, Item
from batchctl.places import Place, Places
from batchctl.transitions import adapting, lanes, outage_ends, pacing
from batchctl.transitions.common import event, open_group, wake
from batchctl.transitions.outages import troubled
from batchctl.transitions.turns import TURN, Passed, Portion, Want, portions

_DUE = 1_000  # retries, and gates, that one claim may wake: the next takes the rest
_LOOKED_AT = 10_000  # files of a batch in one look for one that is here
INLINE = "inline:"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a worker may claim.

    processors    those that its config knows and can run
    limits        how many items of a processor may run at once across all workers, where that is limited
    batch_nos     only these batches; None: every batch
    processor     only this one; None: every processor, also those that batches bring along
    organization  only this one; None: all
    paced         those of the processors that have lanes or a rate, or that may be throttled
    adaptive      those whose limit the store tells
    """

    processors: frozenset[str]
    limits: Mapping[str, int] = field(default_factory=dict)
    batch_nos: tuple[int, ...] | None = None
    processor: str | None = None
    organization: str | None = None
    paced: frozenset[str] = frozenset()
    adaptive: frozenset[str] = frozenset()

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


@dataclass(slots=True)
class Claimer:
    """Claims for one worker; caches what does not change about the batches it has met.

    places      which files are here; what is not here is left to others
    _elsewhere  batches none of whose files is here
    _behind     batches of which some files are not here: those of its pending items up to this number
    _away       suspects whose file is not here
    """

    engine: Engine
    worker_id: str
    places: Places = field(default_factory=lambda: Places(""))
    opens_at: float | None = None
    origins: Sequence[Origin] = ()
    _shut: Mapping[str, Origin | None] = field(default_factory=dict)
    _passed: Passed = field(default_factory=Passed)
    _paces: Mapping[str, pacing.Pace] = field(default_factory=dict)
    _batches: dict[int, tuple[BatchRef, str, str | None]] = field(default_factory=dict)
    _each: set[int] = field(default_factory=set)
    _elsewhere: set[int] = field(default_factory=set)
    _behind: dict[int, int] = field(default_factory=dict)
    _away: set[int] = field(default_factory=set)

    def forget(self) -> None:
        """Something about batches has changed: read them anew."""
        self._batches.clear()

    def look_around(self, tx: Tx) -> None:
        """Files and folders come and go: find anew what is here."""
        if not self.places.judging:
            return
        self.places = self.places.seen()
        self._batches.clear()
        self._each.clear()
        self._elsewhere.clear()
        self._away.clear()
        for batch_no in list(self._behind):
            self._behind[batch_no] = 0
            self._search(tx, batch_no)

    def sort_out(self, items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
        """(those whose files are here or that need none, those that are to be given back and left to others)"""
        if not self._each:
            return list(items), []
        here, away = list[Item](), list[Item]()
        for item in items:
            foreign = item.batch.no in self._each and item.file is not None and not self.places.file(item.file.path)
            (away if foreign else here).append(item)
        return here, away

    def leave_alone(self, tx: Tx, items: Iterable[Item]) -> None:
        """These have been given back: their files are on other hosts. Pass over what lies with them."""
        for item in items:
            if item.suspect:
                self._away.add(item.number)
            else:
                self._search(tx, item.batch.no)

    def elsewhere(self, tx: Tx) -> tuple[dict[int, int | None], bool]:
        """Where nothing is left to claim: how many items of a batch wait for other hosts (None: all that are not
        final), and whether one that is here was passed over and may be claimed now."""
        found: dict[int, int | None] = dict.fromkeys(self._elsewhere)
        earlier = False
        for batch_no, before in list(self._behind.items()):
            self._behind[batch_no] = 0
            if not self._search(tx, batch_no):
                found[batch_no] = tx.value("count_pending", {"no": batch_no})
            earlier = earlier or self._behind[batch_no] < before
        return found, earlier

    def _search(self, tx: Tx, batch_no: int) -> bool:
        """Go on to the next pending item of the batch whose file is here. False where there is none."""
        while True:
            after = self._behind.setdefault(batch_no, 0)
            rows = tx.all("pending_files", {"no": batch_no, "after": after, "limit": _LOOKED_AT})
            for number, file in rows:
                if file is None or self.places.file(file_ref(file).path):
                    return True
                self._behind[batch_no] = number
            if len(rows) < _LOOKED_AT:
                return False

    def claim(self, tx: Tx, scope: Scope, limit: int, now: int, free: int | None = None) -> list[Item]:
        """At most `limit` items that are due, none of them a suspect; of processors with lanes or a rate at most
        `free` (the slots that are free, None: as many as the limit). Afterwards `opens_at` (ms UTC) says when the next
        claim may find something that only waits for its rate."""
        self._tend(tx, scope, now)
        promote(tx, now, paced=bool(scope.paced))
        self._look_at_paces(tx, scope)
        want = Want(limit, self._rooms(tx, scope, now, limit if free is None else min(limit, free)))
        rows: list[Row] = []
        begun: set[int] = set()
        claimed: dict[str, list[Row]] = {}
        probes: dict[str, Row] = {}
        unmarked: list[tuple[Portion, int]] = []
        self._passed = Passed(set(self._elsewhere))
        for asked in portions(tx, scope.batch_nos, scope.organization, want, self._passed) if limit > 0 else ():
            if self.places.judging and self._pass_over(tx, [portion.batch_no for portion in asked]):
                continue
            taken = self._take(tx, asked, now)
            for portion, found in taken:
                want.less(portion.processor, len(found))
                rows += found
                if found and portion.processor in self._shut:
                    probes[portion.processor] = found[0]
                if portion.processor in self._paces:
                    claimed.setdefault(portion.processor, []).extend(found)
                if found and not portion.started:
                    begun.add(portion.batch_no)
            unmarked = [(portion, len(found)) for portion, found in taken]
            if want.left <= 0:
                break
            self._mark(tx, unmarked)
            unmarked = []
        starts, woken = self._reserve(tx, claimed, rows, now)
        self._note_probes(tx, probes, rows)
        items = self._items(tx, rows, starts)  # before the marks: these hold others up until our commit
        _begin(tx, begun, now)
        self._mark(tx, unmarked)
        if begun:
            tx.run("groups_started", {"batch_nos": json.dumps(sorted(begun))})
        wake(tx, woken)
        self.opens_at = pacing.opens_at(tx) if scope.paced and want.left > 0 else None
        return items

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
        return not self._passed.groups <= self._elsewhere.union(self._behind)

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
                    tx.run("groups_started", {"batch_nos": json.dumps([batch_no])})
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
            if number in self._away or not scope.covers(batch_no, processor, organization):
                continue
            if rooms.get(processor, 0) and not (self.places.judging and self._pass_over(tx, [batch_no])):
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
        for name, paused, _, broken_since, _ in tx.all("processor_gates"):
            if name == "*" and paused:
                return {}
            if paused or broken_since is not None or not scope.knows(name):
                continue
            rooms[name] = 1 << 30
            if name in limits:
                rooms[name] = max(0, limits[name] - tx.value("held_of_processor", {"processor": name}))
            if name in self._paces:
                rooms[name] = pacing.room(self._paces[name], now, min(rooms[name], free))
            if name in self._shut:
                rooms[name] = min(rooms[name], 1) if self._shut[name] is not None else 0
        return rooms

    def _take(self, tx: Tx, asked: Sequence[Portion], now: int) -> list[tuple[Portion, list[Row]]]:
        """What each of them gave. `_mark` has to follow."""
        groups = json.dumps([(portion.batch_no, self._behind.get(portion.batch_no, 0)) for portion in asked])
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
        return batch_no not in self._behind and tx.run("group_is_empty", {"batch_no": batch_no}) > 0

    def _pass_over(self, tx: Tx, batch_nos: Sequence[int]) -> bool:
        """Whether one of these was found to have no file here; then all of them are left alone for now."""
        if unknown := set(batch_nos).difference(self._batches):
            self._meet(tx, unknown)
        found = self._elsewhere.intersection(batch_nos)
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
            place = self.places.batch(*row[10:])
            if place is not Place.HERE:
                (self._each if place is Place.EACH else self._elsewhere).add(batch_no)


def file_ref(text: str) -> FileRef:
    """The stored facts of a file, its path as the bytes it had."""
    facts = json.loads(text)
    path, name = facts["path"], facts["name"]
    if "raw" in facts:
        path = os.fsdecode(base64.b64decode(facts["raw"]))
        name = path.rpartition("/")[2]
    return FileRef(path, name, facts["size"], facts["sha256"], facts["media_type"], facts.get("stored", False))


def promote(tx: Tx, now: int, *, paced: bool = False) -> None:
    """Open what time has opened: retries that are due, gates of schedules and timed pauses; for `paced` workers what
    waits for its rate, and lanes that others have left to be looked at."""
    due = tx.all("due_retries", {"now": now, "limit": _DUE})
    plain = [row for row in due if row[2] is None]
    if plain:
        tx.many("make_due", [row[:1] for row in plain])
    laned = [row for row in due if row[2] is not None]
    if paced:
        laned += _rated(tx, now)
    woken = lanes.due(tx, laned, now)
    opening = sorted(no for (no,) in tx.all("gates_opening", {"now": now, "limit": _DUE}))
    for no in opening:
        if tx.run("unpause_expired", {"no": no, "now": now}):
            event(tx, "resumed", now, batch_no=no, actor="schedule")
    wake(tx, woken | {batch_no for _, batch_no, _ in plain})
    for no in opening:
        open_group(tx, no, now)
    if tx.run("unpause_processors", {"now": now}) or due or laned or opening:
        tx.part()  # a claim waits for batches, too, and these come before groups
    if paced and lanes.catch_up(tx, now):
        tx.part()


def _rated(tx: Tx, now: int) -> list[Row]:
    """What only waited for its rate may go on. Returns what has a lane: there it lines up."""
    due = tx.all("due_rates", {"now": now + round(gcra.AHEAD), "limit": _DUE})
    plain = [row for row in due if row[2] is None]
    if plain:
        tx.many("make_rated_due", [row[:1] for row in plain])
        wake(tx, {row[1] for row in plain})
        tx.part()
    return [row for row in due if row[2] is not None]


def _begin(tx: Tx, batch_nos: set[int], now: int) -> None:
    """The first items of these batches were claimed; their groups are marked later."""
    if batch_nos:
        tx.run("batches_started", {"batch_nos": json.dumps(sorted(batch_nos)), "now": now})
