"""record: the outcomes of many items, the counters and the ends of their batches in one commit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto

import msgspec
from msgspec.structs import replace

from batchctl.engines.base import Row, Tx
from batchctl.model import AttemptOutcome, BatchStatus, Item, ItemError, ItemState, Kept, WaitingFor
from batchctl.patterns import digest
from batchctl.transitions import lanes, limits, outages, pacing
from batchctl.transitions import steps as step_results
from batchctl.transitions.common import close_groups, event, wake
from batchctl.transitions.counting import count_attempts
from batchctl.transitions.outbox import announce_end


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of one claimed item.

    outcome     None where no attempt was made: it goes back as if it had not been claimed
    result      JSON text of the result; None unless completed
    lane_no     the lane that it goes through
    late        its processor, where it started later than a rate had reserved
    started_at  ms UTC when it was first touched; None if it never was
    kept        what its last step has found
    """

    item_id: int
    claim_no: int
    batch_no: int
    organization: str
    state: ItemState
    outcome: AttemptOutcome | None
    counted: bool
    started_at: int | None
    ended_at: int
    waiting_for: WaitingFor | None = None
    next_attempt_at: int | None = None
    result: str | None = None
    error: ItemError | None = None
    log: str = ""
    usage: str | None = None
    artifacts: str | None = None
    kept: Kept | None = None
    lane_no: int | None = None
    late: str | None = None


def record(
    tx: Tx, worker_id: str, settled: Sequence[Settled], now: int, weighed: outages.Weighed | None = None
) -> list[Settled]:
    """Store what is still ours. Returns it; what another holder has meanwhile is left out and changes nothing.
    `weighed`: what `settled` comes from, where it was held against the outage guard."""
    completed = [one for one in settled if one.state is ItemState.COMPLETED]
    others = [one for one in settled if one.state is not ItemState.COMPLETED]
    ours = _complete(tx, worker_id, completed) if completed else []
    if others:
        ours += _settle(tx, worker_id, _cancel_told(tx, others))
    pacing.late(tx, ((one.late, one.lane_no, one.started_at) for one in ours if one.late and one.started_at))
    released = _free_lanes(tx, [one for one in ours if one.lane_no is not None], now)
    count_final(tx, ((one.batch_no, one.state) for one in ours), now)
    wake(tx, released | {one.batch_no for one in ours if one.state is ItemState.PENDING})
    if weighed is not None:
        outages.note(tx, weighed, ours, now)
    count_attempts(tx, ours)
    step_results.store(tx, ((one.item_id, one.kept) for one in ours if one.kept))
    return ours


def _free_lanes(tx: Tx, laned: Sequence[Settled], now: int) -> set[int]:
    """The next items of their lanes go on. Returns the batches of which something is pending now."""
    if not laned:
        return set()
    tx.value("lock_lanes")
    lanes.hold(tx, ((one.lane_no or 0, one.item_id) for one in laned if one.state is ItemState.FAILED))
    rated = [one for one in laned if one.waiting_for is WaitingFor.RATE and one.state is ItemState.WAITING]
    later = [(one.item_id, one.batch_no, one.lane_no or 0, one.next_attempt_at) for one in rated]
    return lanes.throttled(tx, later, now) | lanes.freed(tx, (one.lane_no for one in laned), now)


def _complete(tx: Tx, worker_id: str, completed: list[Settled]) -> list[Settled]:
    """Completions are many and alike: a statement for all of them, built so that SQLite does most of the work."""
    rows = msgspec.json.encode([(one.item_id, one.claim_no, one.started_at, one.ended_at) for one in completed])
    params = {"rows": rows.decode(), "worker_id": worker_id}
    if tx.run("complete_items", params) != len(completed):
        completed = _still_ours(tx, completed)
    tx.run("insert_attempts_of_completed", params | {"rows": _claims(completed)})
    plain = [(one.item_id, one.result) for one in completed if one.usage is None and one.artifacts is None]
    tx.bulk("insert_plain_result", plain)
    if len(plain) < len(completed):
        tx.bulk("insert_result", [_result(one) for one in completed if one.usage or one.artifacts])
    tx.many("append_log", [(one.item_id, one.claim_no, one.log) for one in completed if one.log])
    return completed


def _claims(settled: list[Settled]) -> str:
    return msgspec.json.encode([(one.item_id, one.claim_no) for one in settled]).decode()


def _still_ours(tx: Tx, completed: list[Settled]) -> list[Settled]:
    """Those that are completed under our claim now and have no attempt yet; an answer that came twice counts once."""
    done = tx.all("completed_claims", {"ids": json.dumps([one.item_id for one in completed])})
    held = {(number, claim_no) for number, claim_no, recorded in done if not recorded}
    once = {(one.item_id, one.claim_no): one for one in completed}
    return [one for claim, one in once.items() if claim in held]


def _settle(tx: Tx, worker_id: str, settled: list[Settled]) -> list[Settled]:
    """Everything but completions, one by one."""
    ours = [one for one in settled if _settle_one(tx, worker_id, one)]
    tx.bulk("insert_attempt", [_attempt(worker_id, one) for one in ours if one.outcome is not None])
    tx.bulk("insert_result", [_result(one) for one in ours if one.state is ItemState.FAILED])
    tx.many("append_log", [(one.item_id, one.claim_no, one.log) for one in ours if one.log])
    return ours


def _attempt(worker_id: str, one: Settled) -> Row:
    head = (one.item_id, one.claim_no, one.organization, worker_id, one.outcome, int(one.counted))
    return (*head, one.started_at, one.ended_at, *_error(one))


def _result(one: Settled) -> Row:
    pattern = digest(one.error.type, one.error.message) if one.error else None
    return (one.item_id, one.result, *_error(one), one.usage, one.artifacts, pattern)


def _error(one: Settled) -> tuple[str | None, str | None, int]:
    return (one.error.type, one.error.message, int(one.error.permanent)) if one.error else (None, None, 0)


def _cancel_told(tx: Tx, settled: Sequence[Settled]) -> list[Settled]:
    """What would wait or go back, but was cancelled meanwhile, ends as cancelled."""
    going_on = [one.item_id for one in settled if not one.state.final]
    if not going_on:
        return list(settled)
    told = {number for (number,) in tx.all("told_to_cancel", {"ids": json.dumps(going_on)})}
    return [
        replace(one, state=ItemState.CANCELLED, waiting_for=None, next_attempt_at=None)
        if one.item_id in told and not one.state.final
        else one
        for one in settled
    ]


def _settle_one(tx: Tx, worker_id: str, one: Settled) -> bool:
    row = {
        "state": one.state,
        "waiting_for": one.waiting_for,
        "counted": int(one.counted),
        "next_attempt_at": one.next_attempt_at,
        "started_at": one.started_at,
        "completed_at": one.ended_at if one.state.final else None,
        "id": one.item_id,
        "worker_id": worker_id,
        "claim_no": one.claim_no,
    }
    return tx.run("settle_item", row) == 1


def count_final(tx: Tx, states: Iterable[tuple[int, ItemState]], now: int) -> None:
    """Add newly final items to their batches' counters; where that was the last one, the batch ends."""
    by_batch: dict[int, Counter[ItemState]] = {}
    for batch_no, state in states:
        if state.final:
            by_batch.setdefault(batch_no, Counter())[state] += 1
    _see_to_groups(tx, {no: _change_counts(tx, no, by_batch[no], now) for no in sorted(by_batch)})


def change_counts(tx: Tx, batch_no: int, change: Counter[ItemState], now: int, *, failures: int | None = None) -> None:
    """Add to (or, negative, take from) a batch's counters; end it when every item is final and no bulk act is open.
    `failures`: how many count towards its failure limit, where that is not what becomes `failed`."""
    _see_to_groups(tx, {batch_no: _change_counts(tx, batch_no, change, now, failures)})


class _Now(Enum):
    """How a batch stands: it goes on, has ended, or has reached its failure limit."""

    OPEN = auto()
    ENDED = auto()
    STOPPED = auto()


def _see_to_groups(tx: Tx, batches: Mapping[int, _Now]) -> None:
    close_groups(tx, [no for no, how in batches.items() if how is _Now.ENDED])
    limits.shut(tx, [no for no, how in batches.items() if how is _Now.STOPPED])


def _change_counts(tx: Tx, batch_no: int, change: Counter[ItemState], now: int, failures: int | None = None) -> _Now:
    """How the batch stands then; its group is as it was."""
    row = tx.one(
        "count_final",
        {
            "no": batch_no,
            "completed": change[ItemState.COMPLETED],
            "failed": change[ItemState.FAILED],
            "cancelled": change[ItemState.CANCELLED],
            "failures": change[ItemState.FAILED] if failures is None else failures,
        },
    )
    assert row is not None
    total, completed, failed, cancelled, cancelled_at, stopped, bulk, status, run_no, organization, limit, count = row
    if bulk is not None or BatchStatus(status).final:
        return _Now.OPEN
    reached = limit is not None and count >= limit
    if completed + failed + cancelled < total:
        if not reached or stopped:
            return _Now.OPEN
        limits.stop(tx, batch_no, count, limit, organization, now)
        return _Now.STOPPED
    end = final_status(
        completed, failed, cancelled, was_cancelled=cancelled_at is not None, limit_reached=bool(stopped or reached)
    )
    why = limits.told(count, limit) if stopped or reached else None
    tx.run("finish_batch", {"no": batch_no, "status": end, "now": now, "error": why})
    announce_end(tx, batch_no, end, now)
    detail = {"run_no": run_no, "completed": completed, "failed": failed, "cancelled": cancelled}
    event(tx, end, now, organization=organization, batch_no=batch_no, count=total, detail=detail)
    return _Now.ENDED


def final_status(
    completed: int, failed: int, cancelled: int, *, was_cancelled: bool, limit_reached: bool
) -> BatchStatus:
    """The state of a batch whose items are all final: the first rule that fits."""
    if limit_reached:
        return BatchStatus.FAILED
    if was_cancelled or (not failed and cancelled):
        return BatchStatus.CANCELLED
    if not failed:
        return BatchStatus.COMPLETED
    if not completed:
        return BatchStatus.FAILED
    return BatchStatus.COMPLETED_WITH_ERRORS


def store_news(tx: Tx, worker_id: str, news: Iterable[tuple[Item, float | None, str]]) -> None:
    """Progress and log text of items that still run."""
    for item, percent, text in news:
        if percent is not None:
            tx.run("set_progress", (percent, item.number, worker_id, item.claim_no))
        if text:
            tx.run("append_log", (item.number, item.claim_no, text))
