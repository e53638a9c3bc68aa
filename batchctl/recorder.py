"""Outcomes to rows: decides what comes next for each item and makes one record of many."""

from __future__ import annotations

from typing import Any

import msgspec

from batchctl.model import (
    AttemptOutcome,
    Broken,
    Cancelled,
    Completed,
    Down,
    Failed,
    HandedBack,
    Item,
    ItemError,
    ItemState,
    Outcome,
)
from batchctl.retry import Policy, decide
from batchctl.running import Ended
from batchctl.transitions.recording import Settled

_encode = msgspec.json.Encoder(enc_hook=str).encode


def settle(ended: Ended, policy: Policy) -> Settled:
    """The row that an item's end makes."""
    outcome = ended.outcome
    if isinstance(outcome, Completed):
        return _completed(ended, outcome)
    attempt = ended.item.attempt if ended.step is None else ended.step.attempt
    decision = decide(outcome, attempt, policy, ended.ended_at)
    untouched = ended.started_at is None and isinstance(outcome, HandedBack | Cancelled)
    return _row(
        ended.item,
        decision.state,
        ended.ended_at,
        outcome=None if untouched else decision.outcome,
        counted=decision.counted and not untouched,
        started_at=ended.started_at,
        waiting_for=decision.waiting_for,
        next_attempt_at=decision.next_attempt_at,
        error=error_of(outcome),
        log=ended.log + outcome.log,
    )


def _completed(ended: Ended, outcome: Completed) -> Settled:
    # By position: completions are many, and names cost as much again.
    item = ended.item
    return Settled(
        item.number,
        item.claim_no,
        item.batch.no,
        item.batch.organization or "",
        ItemState.COMPLETED,
        AttemptOutcome.COMPLETED,
        True,
        ended.started_at or ended.ended_at,
        ended.ended_at,
        None,
        None,
        _json(outcome.result),
        None,
        ended.log + outcome.log,
        _json(outcome.usage) if outcome.usage else None,
        _json(outcome.artifacts) if outcome.artifacts else None,
        ended.kept,
        item.lane_no,
        _late(item, ended.started_at),
    )


def give_back(item: Item, now: int) -> Settled:
    """A claimed item that was never touched: it returns as if it had not been claimed."""
    return _row(item, ItemState.PENDING, now)


def _row(
    item: Item,
    state: ItemState,
    ended_at: int,
    *,
    outcome: AttemptOutcome | None = None,
    counted: bool = False,
    started_at: int | None = None,
    **details: Any,
) -> Settled:
    return Settled(
        item.number,
        item.claim_no,
        item.batch.no,
        item.batch.organization or "",
        state,
        outcome,
        counted,
        started_at,
        ended_at,
        lane_no=item.lane_no,
        late=_late(item, started_at),
        **details,
    )


def _late(item: Item, started_at: int | None) -> str | None:
    """The processor of an item that started later than its rate had reserved."""
    return item.processor if item.start_at is not None and (started_at or 0) > item.start_at else None


def error_of(outcome: Outcome) -> ItemError | None:
    """The error of an outcome that has one."""
    match outcome:
        case Failed(error=error) | Broken(error=error) | Down(error=error):
            return error
        case _:
            return None


def _json(value: Any) -> str:
    return "null" if value is None else _encode(value).decode()
