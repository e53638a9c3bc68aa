"""What is left to do for a worker that found nothing to claim: pure, given the store's facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from batchctl.engines.base import Row, Tx
from batchctl.transitions import pacing
from batchctl.transitions.scope import Scope, of_worker

_LATE = 1_000  # ms
_SLOW = 10_000  # ms between two starts for which one who only does what is due now waits


class Left(Enum):
    """NOTHING is left; something comes to us if we WAIT; only what waits for a person, a time or other workers' configs
    is HELD."""

    NOTHING = "nothing"
    WAIT = "wait"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Facts:
    """Rows of `outlook_unfinished`, the processors whose gate is shut, the next time (ms) something is due.

    elsewhere   how many items of a batch wait for hosts that have their files; None: all that are not final
    next_start  when (ms) something may start that only waits for its rate
    stuck       batches of which all that is left waits in lanes that a failure holds
    behind      of batches of which all that is left waits for lanes: the batches that go first in these
    others      what other workers take
    """

    batches: Sequence[Row]
    shut: frozenset[str]
    next_due: int | None
    elsewhere: Mapping[int, int | None] = field(default_factory=dict)
    next_start: int | None = None
    stuck: frozenset[int] = frozenset()
    behind: Mapping[int, frozenset[int]] = field(default_factory=dict)
    others: Sequence[Scope] = ()


def facts(tx: Tx, now: int = 0) -> Facts:
    """Read them in one snapshot. A probe of an outage that was due before `now` (ms UTC) waits for something else."""
    shut = frozenset(row[0] for row in tx.all("processor_gates") if row[1] or row[3] is not None)
    opens = pacing.opens_at(tx)
    start = None if opens is None else int(opens)
    probe = tx.value("next_probe", {"now": now - _LATE})
    dues = (tx.value("next_retry"), tx.value("next_gate"), start, probe)
    times = [time for time in dues if time is not None]
    stuck = frozenset(no for (no,) in tx.all("held_batches") if tx.value("batch_is_held", {"no": no}))
    batches = tx.all("outlook_unfinished")
    return Facts(batches, shut, min(times, default=None), next_start=start, stuck=stuck)


def look_into_lanes(tx: Tx, facts: Facts, scope: Scope, worker_id: str) -> Facts:
    """The facts with `behind` and `others`, in the same snapshot: what goes first in a lane may be none of the worker's
    business."""
    if (scope.batch_nos is None and not facts.elsewhere) or tx.value("lane_work"):
        return facts
    others = [of_worker(*row) for row in tx.all("other_workers", {"id": worker_id})]
    behind = {}
    for no, processor, bulk, _, _, _, processing, organization in facts.batches:
        if processing or bulk is not None or not scope.covers(no, processor, organization):
            continue
        if any(other.batch_nos is None and _serves(other, no, processor, organization) for other in others):
            continue  # it takes all of the lane
        if tx.value("batch_waits_for_lanes", {"no": no}):
            first = [head for (head,) in tx.all("first_in_lanes", {"no": no})]
            if first and None not in first:
                behind[no] = frozenset(first)
    return replace(facts, behind=behind, others=others)


def judge(facts: Facts, scope: Scope) -> Left:
    """What a `run` with this scope should do next."""
    answers = {_judge_batch(row, facts, scope) for row in facts.batches if _concerns(row, scope)}
    if Left.WAIT in answers:
        return Left.WAIT
    return Left.HELD if Left.HELD in answers else Left.NOTHING


def starts_soon(facts: Facts, now: int) -> bool:
    """Whether work that is due goes on in a moment (`now`: ms UTC), at the pace of its rate."""
    return facts.next_start is not None and facts.next_start - now < _SLOW


def left(facts: Facts, scope: Scope) -> int:
    """How many items of the scope are not final."""
    return sum(row[5] for row in facts.batches if _concerns(row, scope))


def _concerns(row: Row, scope: Scope) -> bool:
    return scope.covers(row[0], row[1], row[7])


def _judge_batch(row: Row, facts: Facts, scope: Scope) -> Left:
    no, processor, bulk, gate, _, unfinished, processing, _ = row
    shut = facts.shut
    if processing or bulk is not None:
        return Left.WAIT
    if gate in ("paused", "schedule") or "*" in shut or processor in shut or not scope.knows(processor):
        return Left.HELD
    if no in facts.stuck:
        return Left.HELD
    if no in facts.elsewhere and facts.elsewhere[no] in (None, unfinished):
        return Left.HELD
    if no in facts.behind and not any(_moves(head, row, facts, scope) for head in facts.behind[no]):
        return Left.HELD
    return Left.WAIT


def _moves(no: int, behind: Row, facts: Facts, scope: Scope) -> bool:
    """Whether somebody else brings this batch on, which goes first in a lane of `behind`. (Where we do, its own row
    tells.)"""
    _, processor, _, _, _, _, _, organization = behind
    if scope.covers(no, processor, organization):
        return False
    if any(row[0] == no and row[6] for row in facts.batches):
        return True
    return any(_serves(other, no, processor, organization) for other in facts.others)


def _serves(worker: Scope, no: int, processor: str, organization: str) -> bool:
    return worker.covers(no, processor, organization) and worker.knows(processor)
