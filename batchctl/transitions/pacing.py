"""Rates: when a claim may start what. Start times are reserved in the store, so they hold for all workers together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from batchctl import gcra
from batchctl.engines.base import Row, Tx
from batchctl.transitions import lanes


class Rate(Protocol):
    """So many starts in so many seconds."""

    @property
    def count(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class LaneRules(Protocol):
    """What is looked at of a processor's `lane:`."""

    @property
    def concurrency(self) -> int: ...
    @property
    def rate(self) -> Rate | None: ...
    @property
    def on_failure(self) -> str: ...


class Definition(Protocol):
    """What is looked at of a processor's config."""

    @property
    def rate(self) -> Rate | None: ...
    @property
    def lane(self) -> LaneRules | None: ...


class Pace(NamedTuple):
    """What the store knows of a processor's speed; intervals and `tat` in ms."""

    interval: float | None
    tat: float
    lane_limit: int
    lane_interval: float | None
    lane_hold: int


@dataclass(slots=True)
class Reserved:
    """`starts`: item → when it is to start, ms UTC; `early`: the items that were claimed too early."""

    starts: dict[int, int]
    early: list[Row]


def paces(tx: Tx) -> dict[str, Pace]:
    """Of every processor that has, or had, a rate or lanes."""
    return {row[0]: Pace(*row[1:]) for row in tx.all("all_paces")}


def adopt(tx: Tx, definitions: Mapping[str, Definition]) -> None:
    """From now on the processors go as fast as this config says, in every worker. Lanes that go on by themselves again
    are let go; those whose limit has changed follow soon."""
    known: dict[str, Pace] | None = None
    for name in sorted(definitions):
        wanted = _wanted(definitions[name])
        known = paces(tx) if known is None else known
        had = known.get(name, Pace(None, 0, 1, None, 0))
        if wanted == (had.interval, had.lane_limit, had.lane_interval, had.lane_hold):
            continue
        tx.value("lock_lanes")
        names = ("interval_ms", "lane_limit", "lane_interval_ms", "lane_hold")
        tx.run("adopt_pace", {"processor": name} | dict(zip(names, wanted, strict=True)))
        if had.lane_hold and not wanted[3]:
            tx.run("let_lanes_of_processor_go", {"processor": name})


def _wanted(one: Definition) -> tuple[float | None, int, float | None, int]:
    lane = one.lane
    own = None if one.rate is None else gcra.interval(one.rate.count, one.rate.seconds)
    if lane is None:
        return own, 1, None, 0
    theirs = None if lane.rate is None else gcra.interval(lane.rate.count, lane.rate.seconds)
    return own, lane.concurrency, theirs, int(lane.on_failure == "hold")


def room(pace: Pace, now: int, most: int) -> int:
    """How many items of the processor may be claimed now."""
    return most if pace.interval is None else len(gcra.starts(pace.tat, pace.interval, now, most))


def reserve(tx: Tx, known: Mapping[str, Pace], claimed: Mapping[str, Sequence[Row]], now: int) -> Reserved:
    """Reserve the starts of rows just claimed, by processor. `room` has said how many may be."""
    reserved = Reserved({}, [])
    for processor, rows in claimed.items():
        pace = known.get(processor)
        if pace is None:
            continue
        kept = _reserve_lanes(tx, pace, rows, now, reserved) if pace.lane_interval is not None else list(rows)
        if pace.interval is not None and kept:
            starts = gcra.starts(pace.tat, pace.interval, now, len(kept))
            tx.run("reserve_processor", {"processor": processor, "tat": starts[-1] + pace.interval})
            for row, start in zip(kept, starts, strict=True):
                reserved.starts[row[0]] = max(reserved.starts.get(row[0], 0), round(start))
    return reserved


def _reserve_lanes(tx: Tx, pace: Pace, rows: Sequence[Row], now: int, reserved: Reserved) -> list[Row]:
    assert pace.lane_interval is not None
    laned = lanes.rows_of(rows)
    tats: dict[int, float] = dict(tx.all("lane_tats", {"nos": json.dumps(sorted({row[7] for row in laned}))}))
    moved: dict[int, float] = {}
    early: set[int] = set()
    for row in laned:
        start = gcra.earliest(tats[row[7]], now)
        if gcra.too_early(start, now):
            early.add(row[0])
            reserved.early.append(row)
        else:
            reserved.starts[row[0]] = round(start)
            tats[row[7]] = moved[row[7]] = start + pace.lane_interval
    tx.many("reserve_lane", [(tat, no) for no, tat in sorted(moved.items())])
    return [row for row in rows if row[0] not in early]


def give_up(tx: Tx, rows: Sequence[Row], worker_id: str, now: int) -> set[int]:
    """Rows that were claimed too early wait again as if they had not been. Returns what `lanes.derive` does."""
    tx.run("lane_unclaim", {"ids": json.dumps([row[0] for row in rows]), "worker_id": worker_id})
    lanes.back_to_lane(tx, [(row[0], row[1], row[7]) for row in rows])
    return lanes.derive(tx, {row[7] for row in rows}, now)


def late(tx: Tx, starts: Iterable[tuple[str, int | None, int]]) -> None:
    """These starts (processor, lane, ms) came later than reserved: the next keep their distance from them."""
    latest: dict[tuple[str, int | None], int] = {}
    for processor, lane_no, started in starts:
        for where in {(processor, None), (processor, lane_no)}:
            latest[where] = max(started, latest.get(where, 0))
    if not latest:
        return
    tx.value("lock_lanes")
    for (processor, lane_no), started in sorted(latest.items(), key=lambda one: (one[0][0], one[0][1] or 0)):
        if lane_no is None:
            tx.run("late_processor", {"processor": processor, "started": started})
        else:
            tx.run("late_lane", {"no": lane_no, "started": started})


def opens_at(tx: Tx) -> float | None:
    """When (ms UTC) the next claim may find something that only waits for its rate; None where nothing does."""
    times = [time for time in (tx.value("next_rate"), tx.value("next_pace")) if time is not None]
    return gcra.opens(min(times)) if times else None
