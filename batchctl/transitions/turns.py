"""Whose turn it is: the groups that a claim takes from, in the contract's order."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from batchctl.engines.base import Row, Tx

TURN = 10  # items of one organization before the next has its turn
_MOST = 100  # turns that are looked at together

Head = tuple[int, int, str, str]  # priority, turn, organization, processor: as they sort


class Portion(NamedTuple):
    """What a claim is to take from one group: at most `wanted` items."""

    processor: str
    priority: int
    turn: int
    organization: str
    batch_no: int
    started: bool
    wanted: int


@dataclass(slots=True)
class Want:
    """What a claim may still take: `left` items in all, and as many of a processor as its room."""

    left: int
    rooms: dict[str, int]

    def share(self, processor: str, *, shared: bool) -> int:
        """Of one group; `shared` while another organization waits for its turn at the same priority."""
        most = min(self.left, self.rooms.get(processor, 0))
        return min(most, TURN) if shared else most

    def less(self, processor: str, count: int) -> None:
        self.left -= count
        self.rooms[processor] -= count

    def copy(self) -> Want:
        return Want(self.left, dict(self.rooms))


@dataclass(slots=True)
class Passed:
    """What one claim left alone: groups whose items others are about to claim, turns that lead to nothing else."""

    groups: set[int] = field(default_factory=set)
    turns: set[tuple[str, int, str]] = field(default_factory=set)


def portions(
    tx: Tx, batch_nos: Collection[int] | None, organization: str | None, want: Want, passed: Passed
) -> Iterator[list[Portion]]:
    """Portions of one size to take together, until nothing is left. What is taken moves its organization's turn and so
    what comes next: all of a list has to be taken (`want` says how much it was) and marked before the next one is
    asked for."""
    if batch_nos is not None:
        yield from ([portion] for portion in _named(tx, batch_nos, organization, want, passed))
        return
    while found := _in_turn(tx, organization, want, passed):
        yield found


def _named(
    tx: Tx, batch_nos: Collection[int], organization: str | None, want: Want, passed: Passed
) -> Iterator[Portion]:
    while True:
        groups = tx.all("named_groups", {"batch_nos": json.dumps(list(batch_nos))})
        rows = [
            row
            for row in groups
            if want.rooms.get(row[0], 0) > 0 and organization in (None, row[3]) and row[4] not in passed.groups
        ]
        if not rows:
            return
        if len({row[3] for row in rows}) == 1:  # no turns to take: the order stands, however many batches there are
            yield from (_portion(row, want, shared=False) for row in rows if want.rooms[row[0]] > 0)
            return
        yield _portion(rows[0], want, shared=any(row[1] == rows[0][1] and row[3] != rows[0][3] for row in rows))


def _portion(row: Row, want: Want, *, shared: bool) -> Portion:
    processor, priority, turn, organization, batch_no, started = row
    return Portion(
        processor, priority, turn, organization, batch_no, bool(started), want.share(processor, shared=shared)
    )


def _in_turn(tx: Tx, organization: str | None, want: Want, passed: Passed) -> list[Portion]:
    """The next groups whose order stands whatever is found in them."""
    statement = "ready_turns" if organization is None else "ready_turns_of"
    most = min(_MOST, max(2, -(-want.left // TURN) + 1)) + len(passed.turns)
    while True:
        able = [name for name, room in want.rooms.items() if room > 0]
        where = {"organization": organization, "limit": most}
        heads: list[Head] = [
            (row[0], row[1], row[2], name) for name in able for row in tx.all(statement, where | {"processor": name})
        ]
        heads = sorted(head for head in heads if (head[3], head[0], head[2]) not in passed.turns)
        found = arrange(heads, _oldest(tx, heads, passed), want) if heads else []
        if found or not heads:
            return found


def _oldest(tx: Tx, heads: list[Head], passed: Passed) -> dict[Head, tuple[int, bool]]:
    """The oldest open group of each: (batch, started). Turns that lead to none are closed."""
    keys = [(processor, priority, organization) for priority, _, organization, processor in heads]
    groups = tx.all("oldest_groups", {"heads": json.dumps(keys), "passed": json.dumps(sorted(passed.groups))})
    found = {heads[n]: (batch_no, bool(started)) for n, batch_no, started in groups}
    for head, key in zip(heads, keys, strict=True):
        if head not in found:
            tx.value("lock_turns")
            if not tx.run("close_turn", dict(zip(("processor", "priority", "organization"), key, strict=True))):
                passed.turns.add(key)
    return found


def arrange(heads: list[Head], oldest: Mapping[Head, tuple[int, bool]], want: Want) -> list[Portion]:
    """Portions of the heads (sorted) that have a group: one an organization, as long as none of these, with its turn
    moved on, would come before the next; none of a lower priority or of another size. Pure."""
    want, found, again = want.copy(), list[Portion](), list[tuple[int, str]]()
    for (priority, turn, organization), some in groupby(heads, key=lambda head: head[:3]):
        if found and (priority > found[0].priority or (turn, organization) > min(again)):
            break
        able = [(*oldest[head], head[3]) for head in some if head in oldest and want.rooms[head[3]] > 0]
        if not able:
            continue
        batch_no, started, processor = min(able)
        shared = any(head[0] == priority and head[2] != organization for head in heads)
        wanted = want.share(processor, shared=shared)
        if found and wanted != found[0].wanted:
            break
        found.append(Portion(processor, priority, turn, organization, batch_no, started, wanted))
        again.append((turn + wanted, organization))
        want.less(processor, wanted)
        if not want.left or not shared:
            break
    return found
