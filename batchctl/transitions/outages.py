"""Promise 4: what outcomes tell of the receivers is weighed in the commit that records them.

Signs of one commit are weighed in their order. Failures that trip the guard, and those after it, are rewritten before
they are stored; those that earlier commits have counted are refunded soon (see `outage_ends`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from batchctl import guard
from batchctl.engines.base import Row, Tx
from batchctl.guard import Failure, Origin, Verdict
from batchctl.model import AttemptOutcome, ItemState, WaitingFor
from batchctl.transitions.common import event

if TYPE_CHECKING:
    from batchctl.transitions.recording import Settled

ANY = ""  # stands for whatever answers a processor whose outcomes name no origin

Key = tuple[str, str]


class Kind(Enum):
    """What an outcome tells: an ANSWER came, nobody was there (DOWN), fewer requests are wanted (THROTTLED), or the
    item was not sent at all because its origin is known to be out (UNSENT)."""

    ANSWER = auto()
    DOWN = auto()
    THROTTLED = auto()
    UNSENT = auto()


class Sign(msgspec.Struct, frozen=True, gc=False):
    """What one outcome tells of an origin. `at` is the index of its `Settled`; times in ms.

    origin      ANY where an answer says nothing of who gave it
    gates       the origin serves every item of the processor
    otherwise   what a throttled item becomes where being throttled has lasted too long
    """

    at: int
    kind: Kind
    processor: str
    origin: str
    gates: bool = False
    max_outage: int = 86_400_000
    retry_after: int = 0
    otherwise: Settled | None = None


@dataclass(slots=True)
class Weighed:
    """`settled` as it is to be recorded; afterwards `note` has to follow.

    shut    processors that nothing is claimed of any more
    over    origins that answer again
    """

    settled: list[Settled]
    shut: set[str] = field(default_factory=set)
    over: list[Origin] = field(default_factory=list)
    tripped: list[Origin] = field(default_factory=list)
    _noted: dict[int, tuple[Key, bool]] = field(default_factory=dict)

    def waits(self, at: int, key: Key, outcome: AttemptOutcome | None) -> None:
        one = self.settled[at]
        self._noted[at] = (key, True)
        self.settled[at] = replace(
            one,
            state=ItemState.WAITING,
            waiting_for=WaitingFor.OUTAGE,
            outcome=outcome,
            counted=False,
            next_attempt_at=None,
            started_at=one.started_at if outcome else None,
            error=one.error if outcome else None,
        )

    def counts(self, at: int, key: Key) -> None:
        """An outage would refund it."""
        self._noted[at] = (key, False)

    def stands(self, at: int) -> None:
        """It has counted for good."""
        self._noted.pop(at, None)

    def goes_back(self, at: int) -> None:
        one = self.settled[at]
        self.settled[at] = replace(
            one,
            state=ItemState.PENDING,
            waiting_for=None,
            outcome=None,
            counted=False,
            next_attempt_at=None,
            started_at=None,
            error=None,
        )

    def rows(self, ours: Iterable[Settled]) -> list[Row]:
        """What is to be remembered of the failures that were still ours."""
        states = {(one.item_id, one.claim_no): one.state for one in ours}
        found = []
        for at, (key, waits) in self._noted.items():
            claim = (self.settled[at].item_id, self.settled[at].claim_no)
            state = states.get(claim)
            if state is ItemState.WAITING or (state is ItemState.FAILED and not waits):
                found.append((*claim, *key, int(waits)))
        return found


def weigh(tx: Tx, settled: Sequence[Settled], signs: Sequence[Sign], now: int) -> Weighed:
    """The outcomes as they are to be recorded. Comes first in its transaction: the origins are locked."""
    weighed = Weighed(list(settled))
    if not signs:
        return weighed
    named = sorted({(sign.processor, sign.origin) for sign in signs if sign.kind is not Kind.UNSENT})
    tx.many("know_origin", [(*key, 0) for key in named])
    about = json.dumps([*named, *{(sign.processor, ANY) for sign in signs}])
    before = {(row.processor, row.origin): row for row in map(origin_of, tx.all("lock_origins", {"origins": about}))}
    scales = _Scales(tx, weighed, dict(before), now)
    for sign in signs:
        scales.put(sign)
    for key, origin in scales.origins.items():
        if origin != before[key]:
            _store(tx, origin, before[key], weighed)
    return weighed


def _store(tx: Tx, origin: Origin, before: Origin, weighed: Weighed) -> None:
    tx.run("store_origin", row_of(origin))
    where = {"processor": origin.processor, "origin": origin.origin}
    if before.failures and not origin.failures and not origin.refund:
        tx.run("forget_failures", where)
    if origin.out_since is not None and before.out_since is None:
        weighed.tripped.append(origin)
        if origin.gates:
            weighed.shut.add(origin.processor)
    elif origin.out_since is None and before.out_since is not None:
        weighed.over.append(before)


@dataclass(slots=True)
class _Scales:
    """The origins as they change from sign to sign. `counted`: failures of this commit that may still be rewritten."""

    tx: Tx
    weighed: Weighed
    origins: dict[Key, Origin]
    now: int
    counted: dict[Key, list[int]] = field(default_factory=dict)

    def put(self, sign: Sign) -> None:
        key = (sign.processor, sign.origin)
        match sign.kind:
            case Kind.ANSWER:
                self._answered(sign)
            case Kind.THROTTLED:
                self._throttled(sign, key)
            case Kind.UNSENT:
                self._unsent(sign, key)
            case Kind.DOWN:
                self._failed(sign, key)

    def _answered(self, sign: Sign) -> None:
        """Who answered one answers all; and whoever was probed by this item, whatever it is called now."""
        one = self.weighed.settled[sign.at]
        for key, origin in self.origins.items():
            if key[0] != sign.processor:
                continue
            named = key[1] == sign.origin
            one_of_all = origin.troubled and (sign.origin == ANY or key[1] == ANY)
            if named or one_of_all or origin.probed_by(one.item_id, one.claim_no):
                self._set(key, guard.answered(origin))

    def _throttled(self, sign: Sign, key: Key) -> None:
        origin = self.origins[key]
        if sign.otherwise is not None and not guard.may_wait(origin, sign.max_outage, self.now):
            self.weighed.settled[sign.at] = sign.otherwise
        self._set(key, guard.throttled(origin, self.now))

    def _unsent(self, sign: Sign, key: Key) -> None:
        origin = self.origins.get(key)
        if origin is not None and origin.out(self.now):
            self.weighed.waits(sign.at, key, None)
        else:
            self.weighed.goes_back(sign.at)

    def _failed(self, sign: Sign, key: Key) -> None:
        one, origin = self.weighed.settled[sign.at], self.origins[key]
        counted = self.counted.setdefault(key, [])
        error = one.error
        failure = Failure(
            one.item_id,
            one.claim_no,
            error.type if error else "",
            error.message if error else "",
            others=self._others(key, counted) if not origin.answered and origin.failures + 1 >= guard.RUN else (),
            known=(any_ := self.origins.get((sign.processor, ANY))) is not None and any_.answered,
            gates=sign.gates,
            max_outage=sign.max_outage,
            retry_after=sign.retry_after,
        )
        self.origins[key], verdict = guard.failed(origin, failure, self.now)
        if verdict is Verdict.COUNTS:
            if not origin.expired(self.now):
                self.weighed.counts(sign.at, key)
                counted.append(sign.at)
            return
        for at in (*counted, sign.at):
            self.weighed.waits(at, key, AttemptOutcome.OUTAGE)
        counted.clear()

    def _others(self, key: Key, counted: Sequence[int]) -> set[int]:
        where = {"processor": key[0], "origin": key[1]}
        earlier = {number for (number,) in self.tx.all("failed_on_origin", where)}
        return earlier | {self.weighed.settled[at].item_id for at in counted}

    def _set(self, key: Key, origin: Origin) -> None:
        self.origins[key] = origin
        for at in self.counted.pop(key, ()):
            self.weighed.stands(at)


def note(tx: Tx, weighed: Weighed, ours: Iterable[Settled], now: int) -> None:
    """What is to be remembered of failures that were recorded. Near the end of the transaction."""
    rows = weighed.rows(ours)
    if rows:
        tx.many("note_outage_item", rows)
    for origin in weighed.tripped:
        reason = f"{origin.error_type}: {origin.error_message}"
        about = {"processor": origin.processor, "origin": origin.origin, "error": reason}
        event(tx, "outage", now, detail=about)
    for origin in weighed.over:
        over = {"processor": origin.processor, "origin": origin.origin, "since": origin.out_since}
        event(tx, "outage_over", now, detail=over)
    if weighed.tripped or weighed.over:
        tx.value("lock_turns")
        tx.run("raise_control")


def troubled(tx: Tx) -> list[Origin]:
    """The origins with which something is wrong."""
    return [origin_of(row) for row in tx.all("troubled_origins")]


def origin_of(row: Row) -> Origin:
    head, flags = row[:2], (bool(row[2]), *row[3:7], bool(row[7]), *row[8:12], bool(row[12]), bool(row[13]), *row[14:])
    return Origin(*head, *flags)


def row_of(origin: Origin) -> dict[str, object]:
    """The columns of the table."""
    names = Origin.__slots__
    return {name: _column(getattr(origin, name)) for name in names} | {"troubled": int(origin.troubled)}


def _column(value: object) -> object:
    return int(value) if isinstance(value, bool) else value
