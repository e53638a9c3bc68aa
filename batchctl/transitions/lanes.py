"""Lanes: which items of those that share a value may run.

Only as many of a lane's items as may run are `pending`: its heads, the first by priority, batch and number of those
under an open gate. The others wait for the lane. `derive` makes that so; it is called in the commit that frees a slot.
Where many lanes change at once that is left to later transactions: a lane that is `dirty`, a group or a processor whose
`relane` is not NULL. Claims do some of it each, `check` does the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from batchctl import gcra
from batchctl.engines.again import again
from batchctl.engines.base import Engine, Row, Tx
from batchctl.transitions.common import wake

_AT_ONCE = 200  # lanes that one commit works out beside what else it does
_CHUNK = 500  # the same where it does nothing else
_ROUND = 0.05  # seconds for which a claim may go on with what others have left


class Lane(NamedTuple):
    """What holds for a lane. `held`: a failed item keeps everything back. `interval`: ms between two starts."""

    no: int
    limit: int
    held: int
    tat: float
    interval: float | None


class Head(NamedTuple):
    """An item that is final no more and waits for no lane; `open`: nothing keeps its batch from being claimed."""

    lane_no: int
    id: int
    state: str
    waiting_for: str | None
    due: int | None
    batch_no: int
    priority: int | None
    open: int

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.priority or 0, self.batch_no, self.id)

    @property
    def free_to_go(self) -> bool:
        """It may run, or will as soon as the rate allows; it holds no slot by right."""
        return self.state == "pending" or self.waiting_for == "rate"

    @property
    def sits_out(self) -> bool:
        """It waits for a receiver that is down."""
        return self.state == "waiting" and self.waiting_for == "outage"


class Candidate(NamedTuple):
    """An item that waits for its lane, under an open gate."""

    lane_no: int
    id: int
    batch_no: int
    priority: int

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.priority, self.batch_no, self.id)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a lane's items: back to waiting for it, pending, or waiting for a time (ms UTC)."""

    demote: Sequence[Head] = ()
    ready: Sequence[Head | Candidate] = ()
    put_off: Sequence[tuple[Head | Candidate, int]] = ()


def free_slots(lane: Lane, heads: Iterable[Head]) -> int:
    """How many of a lane's items may become or stay heads. Where it takes one at a time, one that waits for its next
    try keeps its place, unless its batch is closed; what waits for a receiver does so against those after it only
    (`choose`), for the one that probes may come before it."""
    if lane.held:
        return 0
    running = sum(
        head.state == "processing"
        or (lane.limit == 1 and head.state == "waiting" and not (head.free_to_go or head.sits_out) and bool(head.open))
        for head in heads
    )
    return max(0, lane.limit - running)


def choose(lane: Lane, heads: Sequence[Head], candidates: Sequence[Candidate], now: int) -> Change:
    """Who may go. Pure."""
    free = free_slots(lane, heads)
    present = [head for head in heads if head.free_to_go]
    able: list[Head | Candidate] = [*(head for head in present if head.open), *candidates]
    if lane.limit == 1:
        out = min((head.order for head in heads if head.sits_out and head.open), default=None)
        able = [one for one in able if out is None or one.order < out]
    best = sorted(able, key=lambda one: one.order)[:free]
    chosen = {one.id for one in best}
    ready: list[Head | Candidate] = []
    put_off: list[tuple[Head | Candidate, int]] = []
    start = gcra.earliest(lane.tat, now)
    for one in best:
        if lane.interval is not None and gcra.too_early(start, now):
            at = int(start) + 1
            if not (isinstance(one, Head) and one.waiting_for == "rate" and one.due == at):
                put_off.append((one, at))
        elif not (isinstance(one, Head) and one.state == "pending"):
            ready.append(one)
        start += lane.interval or 0.0
    return Change([head for head in present if head.id not in chosen], ready, put_off)


def derive(tx: Tx, lane_nos: Iterable[int], now: int) -> set[int]:
    """Bring these lanes' heads up to date. Returns the batches of which something is pending now: the caller wakes
    them, after whatever it waits for before groups."""
    wanted = sorted(set(lane_nos))
    if not wanted:
        return set()
    tx.value("lock_lanes")
    nos = json.dumps(wanted)
    lanes = [Lane(*row) for row in tx.all("lanes_of", {"nos": nos})]
    heads: dict[int, list[Head]] = {}
    for row in tx.all("lane_heads", {"nos": nos}):
        heads.setdefault(row[0], []).append(Head(*row))
    candidates = _candidates(tx, {lane.no: free_slots(lane, heads.get(lane.no, ())) for lane in lanes})
    changes = [choose(lane, heads.get(lane.no, ()), candidates.get(lane.no, ()), now) for lane in lanes]
    stayed = _demote(tx, [head for change in changes for head in change.demote])
    ready = [one for change in changes for one in change.ready if one.lane_no not in stayed]
    later = [(one, at) for change in changes for one, at in change.put_off if one.lane_no not in stayed]
    if ready:
        tx.run("lane_ready", {"ids": json.dumps([one.id for one in ready])})
    tx.many("lane_put_off", [(at, one.id) for one, at in later])
    taken = [one for one in (*ready, *(one for one, _ in later)) if isinstance(one, Candidate)]
    if taken:
        tx.run("close_lane_batches", _pairs(taken))
    tx.run("lanes_clean", {"nos": nos})
    if stayed:
        tx.run("lanes_dirty", {"nos": json.dumps(sorted(stayed))})
    return {one.batch_no for one in ready}


def _candidates(tx: Tx, free: dict[int, int]) -> dict[int, list[Candidate]]:
    """Of each lane as many as may go."""
    hungry = [no for no, slots in free.items() if slots]
    if not hungry:
        return {}
    found: dict[int, list[Candidate]] = {}
    for row in tx.all("lane_candidates", {"nos": json.dumps(hungry), "most": max(free.values())}):
        found.setdefault(row[0], []).append(Candidate(*row))
    return {no: some[: free[no]] for no, some in found.items()}


def _demote(tx: Tx, heads: Sequence[Head]) -> set[int]:
    """These wait for their lane again. Returns the lanes of which one could not be taken back: somebody claims it."""
    if not heads:
        return set()
    done = {number for (number,) in tx.all("lane_demote", {"ids": json.dumps([head.id for head in heads])})}
    tx.run("open_lane_batches", _pairs(heads))
    return {head.lane_no for head in heads if head.id not in done}


def _pairs(some: Sequence[Head | Candidate]) -> dict[str, str]:
    return {"pairs": json.dumps(sorted({(one.batch_no, one.lane_no) for one in some}))}


def freed(tx: Tx, lane_nos: Iterable[int | None], now: int) -> set[int]:
    """Slots of these lanes (None: of no lane) may be free: the next items go on. Of very many lanes some at once, the
    others with the next claims. Returns what `derive` does."""
    wanted = sorted({no for no in lane_nos if no is not None})
    if len(wanted) > _AT_ONCE:
        tx.value("lock_lanes")
        tx.run("lanes_dirty", {"nos": json.dumps(wanted[_AT_ONCE:])})
    return derive(tx, wanted[:_AT_ONCE], now)


def back_to_lane(tx: Tx, rows: Iterable[tuple[int, int, int]]) -> None:
    """These items (number, batch, lane) wait for their lane now: let the lane know that its batch has some."""
    pairs = sorted({(batch_no, lane_no) for _, batch_no, lane_no in rows})
    if pairs:
        tx.value("lock_lanes")
        tx.run("open_lane_batches", {"pairs": json.dumps(pairs)})


def due(tx: Tx, rows: Sequence[tuple[int, int, int]], now: int) -> set[int]:
    """The time of these items (number, batch, lane) has come: they line up in their lanes. Returns what `derive`
    does."""
    if not rows:
        return set()
    tx.value("lock_lanes")
    tx.run("lane_due", {"ids": json.dumps([row[0] for row in rows])})
    back_to_lane(tx, rows)
    return derive(tx, {row[2] for row in rows}, now)


def close(tx: Tx, batch_no: int, lane_nos: Collection[int]) -> None:
    """Items of the batch that waited for these lanes have gone."""
    if lane_nos:
        tx.value("lock_lanes")
        tx.run("close_lane_batches", {"pairs": json.dumps(sorted((batch_no, no) for no in set(lane_nos)))})


def hold(tx: Tx, failed: Iterable[tuple[int, int]]) -> None:
    """These items (lane, number) failed: their lanes stop where their processor wants that."""
    tx.many("hold_lane", [(number, lane_no) for lane_no, number in sorted(failed)])


def let_go(tx: Tx, lane_nos: Iterable[int | None]) -> int:
    """These lanes are not held any more. Returns how many were."""
    wanted = sorted({no for no in lane_nos if no is not None})
    if not wanted:
        return 0
    tx.value("lock_lanes")
    return tx.run("let_lanes_go", {"nos": json.dumps(wanted)})


def catch_up(tx: Tx, now: int) -> bool:
    """Work out some of what was left to be, for a claim. True where something was done."""
    did, end = False, time.monotonic() + _ROUND
    while tx.value("lane_work"):
        tx.value("lock_lanes")
        wake(tx, _some_of_it(tx, _AT_ONCE, now))
        did = True
        if time.monotonic() > end:
            break
    return did


def catch_up_all(engine: Engine) -> int:
    """Work out all of what was left to be, and what should never be: lanes in which nothing goes on though something
    waits. Returns how many of those there were."""
    while _catch_up_some(engine):
        pass
    found = after = 0
    while True:
        stuck = _stuck(engine, after)
        if not stuck:
            return found
        _derive_all(engine, stuck)
        found, after = found + len(stuck), stuck[-1]


@again
def _stuck(engine: Engine, after: int) -> list[int]:
    with engine.read() as tx:
        return [no for (no,) in tx.all("stuck_lanes", {"after": after, "limit": _CHUNK})]


@again
def _catch_up_some(engine: Engine) -> bool:
    with engine.write() as tx:
        if not tx.value("lane_work"):
            return False
        wake(tx, _some_of_it(tx, _CHUNK, engine.now()))
        return True


@again
def _derive_all(engine: Engine, lane_nos: Sequence[int]) -> None:
    with engine.write() as tx:
        wake(tx, derive(tx, lane_nos, engine.now()))


def _some_of_it(tx: Tx, most: int, now: int) -> set[int]:
    dirty = [no for (no,) in tx.all("dirty_lanes", {"limit": most})]
    if dirty:
        return derive(tx, dirty, now)
    group = tx.one("group_to_relane")
    if group is not None:
        return _relane_group(tx, group, most, now)
    pace = tx.one("pace_to_relane")
    return _relane_processor(tx, pace, most, now) if pace is not None else set()


def _relane_group(tx: Tx, group: Row, most: int, now: int) -> set[int]:
    batch_no, after, priority = group
    page = [no for (no,) in tx.all("lanes_of_batch", {"no": batch_no, "after": after, "limit": most})]
    if page:
        span = {"no": batch_no, "after": after, "last": page[-1]}
        tx.run("prioritise_lanes", span | {"priority": priority})
    further = page[-1] if len(page) == most else None
    woken = derive(tx, page, now)
    tx.value("lock_turns")
    tx.run("group_relaned", {"no": batch_no, "after": further})
    return woken


def _relane_processor(tx: Tx, pace: Row, most: int, now: int) -> set[int]:
    processor, after = pace
    page = [no for (no,) in tx.all("lanes_of_processor", {"processor": processor, "after": after, "limit": most})]
    tx.run("pace_relaned", {"processor": processor, "after": page[-1] if len(page) == most else None})
    return derive(tx, page, now)


@again
def numbers(engine: Engine, processor: str, organization: str, values: Collection[str]) -> dict[str, int]:
    """The lanes of these values, made where there are none yet: value → number."""
    where = {"processor": processor, "organization": organization, "names": json.dumps(sorted(values))}
    with engine.read() as tx:
        found: dict[str, int] = dict(tx.all("lane_numbers", where))
    if len(found) < len(values):
        with engine.write(shared=True) as tx:
            tx.value("lock_lanes")
            tx.run("insert_lanes", where)
            found = dict(tx.all("lane_numbers", where))
    return found


def rows_of(claimed: Iterable[Row]) -> list[Row]:
    """Those of claimed rows that have a lane."""
    return [row for row in claimed if row[7] is not None]


def throttled(tx: Tx, rows: Sequence[tuple[int, int, int, int | None]], now: int) -> set[int]:
    """The receiver wants these items (number, batch, lane, until: ms UTC) later: so their whole lanes wait. Returns
    what `derive` does."""
    if not rows:
        return set()
    until: dict[int, int] = {}
    for _, _, lane_no, at in rows:
        until[lane_no] = max(at or 0, until.get(lane_no, 0))
    tx.many("reserve_lane", [(at, lane_no) for lane_no, at in sorted(until.items())])
    return due(tx, [row[:3] for row in rows], now)
