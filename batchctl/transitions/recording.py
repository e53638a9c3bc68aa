"""record: the outcomes of many items, the counters and the ends of their batches in one commit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from batchctl.engines.base import Tx
from batchctl.model import AttemptOutcome, BatchStatus, Item, ItemError, ItemState, WaitingFor
from batchctl.transitions.common import event, wake


class Settled(msgspec.Struct, frozen=True, gc=False):
    """What became of one claimed item.

    outcome     None where no attempt was made: it goes back as if it had not been claimed
    result      JSON text of the result; None unless completed
    started_at  ms UTC when it was first touched; None if it never was
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


def record(tx: Tx, worker_id: str, settled: Sequence[Settled], now: int) -> list[Settled]:
    """Store what is still ours. Returns it; what another holder has meanwhile is left out and changes nothing."""
    ours = _settle(tx, worker_id, _cancel_told(tx, settled))
    _store_details(tx, worker_id, ours)
    for batch_no in {one.batch_no for one in ours if one.state is ItemState.PENDING}:
        wake(tx, batch_no)
    count_final(tx, ((one.batch_no, one.state) for one in ours), now)
    return ours


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


def _settle(tx: Tx, worker_id: str, settled: list[Settled]) -> list[Settled]:
    completed = [one for one in settled if one.state is ItemState.COMPLETED]
    rows = json.dumps([(one.item_id, one.claim_no, one.started_at, one.ended_at) for one in completed])
    ours = [one for one in settled if one.state is not ItemState.COMPLETED and _settle_one(tx, worker_id, one)]
    if not completed or tx.run("complete_items", {"rows": rows, "worker_id": worker_id}) == len(completed):
        return ours + completed
    # Some are not ours any more. Which ones: those that are not completed under our claim now.
    done = tx.all("completed_claims", {"ids": json.dumps([one.item_id for one in completed])})
    held = {(number, claim_no) for number, claim_no, recorded in done if not recorded}
    once = {(one.item_id, one.claim_no): one for one in completed}  # an answer that came twice counts once
    return ours + [one for claim, one in once.items() if claim in held]


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


def _store_details(tx: Tx, worker_id: str, ours: list[Settled]) -> None:
    attempts, results, logs = [], [], []
    for one in ours:
        kind, message, permanent = (
            (one.error.type, one.error.message, int(one.error.permanent)) if one.error else (None, None, 0)
        )
        if one.outcome is not None:
            head = (one.item_id, one.claim_no, one.organization, worker_id, one.outcome, int(one.counted))
            attempts.append((*head, one.started_at, one.ended_at, kind, message))
        if one.state in (ItemState.COMPLETED, ItemState.FAILED):
            results.append((one.item_id, one.result, kind, message, permanent, one.usage, one.artifacts))
        if one.log:
            logs.append((one.item_id, one.claim_no, one.log))
    tx.bulk("insert_attempt", attempts)
    tx.bulk("insert_result", results)
    tx.many("append_log", logs)


def count_final(tx: Tx, states: Iterable[tuple[int, ItemState]], now: int) -> None:
    """Add newly final items to their batches' counters; where that was the last one, the batch ends."""
    by_batch: dict[int, Counter[ItemState]] = {}
    for batch_no, state in states:
        if state.final:
            by_batch.setdefault(batch_no, Counter())[state] += 1
    for batch_no in sorted(by_batch):
        change_counts(tx, batch_no, by_batch[batch_no], now)


def change_counts(tx: Tx, batch_no: int, change: Counter[ItemState], now: int) -> None:
    """Add to (or, negative, take from) a batch's counters; end it when every item is final and no bulk act is open."""
    row = tx.one(
        "count_final",
        {
            "no": batch_no,
            "completed": change[ItemState.COMPLETED],
            "failed": change[ItemState.FAILED],
            "cancelled": change[ItemState.CANCELLED],
        },
    )
    assert row is not None
    total, completed, failed, cancelled, cancelled_at, limit_reached, bulk, status, run_no, organization = row
    if completed + failed + cancelled < total or bulk is not None or BatchStatus(status).final:
        return
    end = final_status(
        completed, failed, cancelled, was_cancelled=cancelled_at is not None, limit_reached=bool(limit_reached)
    )
    tx.run("finish_batch", {"no": batch_no, "status": end, "now": now, "error": None})
    tx.run("delete_group", {"no": batch_no})
    detail = {"run_no": run_no, "completed": completed, "failed": failed, "cancelled": cancelled}
    event(tx, end, now, organization=organization, batch_no=batch_no, count=total, detail=detail)


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
