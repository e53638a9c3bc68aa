"""What a dead worker held goes back to the queue; what it had started becomes a suspect, tried alone from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchctl.engines.again import again
from batchctl.engines.base import Engine, Row, Tx
from batchctl.model import AttemptOutcome, ItemError, ItemState
from batchctl.transitions.common import event
from batchctl.transitions.recording import Settled, record

_CHUNK = 2_000
Note = Callable[[Tx, Sequence[Settled], int], None]


def release_worker(
    engine: Engine,
    worker_id: str,
    started: frozenset[tuple[int, int]] | None,
    max_crashes: int,
    on_failed: Callable[[Settled], None] | None = None,
    note: Note | None = None,
    *,
    org: str | None = None,
) -> int:
    """Take everything from a worker that is gone, and its row. Returns how many items it still held.

    started      (item number, claim number) of what it had begun; None where the machine went down: nobody is to
                 blame then
    max_crashes  how many deaths alone an item may cost before it fails
    on_failed    told of each item that has now failed
    note         called in each commit with what it records
    org          only this organization's items; the row stays while others are held
    """
    released = 0
    while True:
        count, ours = _release_some(engine, worker_id, started, max_crashes, released, note, org)
        released += count
        for one in ours:
            if on_failed is not None and one.state is ItemState.FAILED:
                on_failed(one)
        if count < _CHUNK:
            return released


@again
def _release_some(
    engine: Engine,
    worker_id: str,
    started: frozenset[tuple[int, int]] | None,
    max_crashes: int,
    before: int,
    note: Note | None,
    org: str | None,
) -> tuple[int, list[Settled]]:
    """(how many, those that were still held); with the last of them the worker's row goes. `before`: so many went
    already."""
    with engine.write() as tx:
        now = engine.now()
        rows = tx.all("held_details", {"worker_id": worker_id, "limit": _CHUNK, "org": org})
        settled = [_released(row, started, max_crashes, now) for row in rows]
        for one, row in zip(settled, rows, strict=True):
            if one.outcome is AttemptOutcome.CRASHED:
                tx.run("mark_suspect", {"id": one.item_id, "alone": int(row[4])})
        ours = record(tx, worker_id, settled, now)
        if note is not None:
            note(tx, ours, now)
        if len(rows) < _CHUNK:
            if org is None or tx.value("holds_any", {"worker_id": worker_id}) is None:
                tx.run("delete_worker", {"id": worker_id})
            if before + len(rows):
                event(tx, "recovered", now, actor=worker_id, count=before + len(rows))
    return len(rows), ours


def _released(row: Row, started: frozenset[tuple[int, int]] | None, max_crashes: int, now: int) -> Settled:
    number, claim_no, batch_no, organization, suspect, crashes, started_at, lane_no = row
    begun = started is not None and (number, claim_no) in started
    fatal = begun and suspect and crashes + 1 >= max_crashes
    message = f"the worker died with only this item in hand, {crashes + 1} times" if fatal else "the worker died"
    return Settled(
        item_id=number,
        claim_no=claim_no,
        batch_no=batch_no,
        organization=organization,
        state=ItemState.FAILED if fatal else ItemState.PENDING,
        outcome=AttemptOutcome.CRASHED if begun else None,
        counted=False,
        started_at=started_at if begun else None,
        ended_at=now,
        error=ItemError("WorkerDied", message, permanent=bool(fatal)) if begun else None,
        lane_no=lane_no,
    )


@again
def hand_back(engine: Engine, worker_id: str, claims: list[tuple[int, int]]) -> None:
    """Items that the store gives to a living worker which does not know them go back unspent."""
    wanted = frozenset(claims)
    with engine.write() as tx:
        now = engine.now()
        rows = tx.all("held_details", {"worker_id": worker_id, "limit": 1 << 30, "org": None})
        settled = [_released(row, None, 0, now) for row in rows if (row[0], row[1]) in wanted]
        record(tx, worker_id, settled, now)
