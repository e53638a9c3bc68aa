"""What time has opened: each claim looks for it before it takes anything."""

from __future__ import annotations

from batchctl import gcra
from batchctl.engines.base import Row, Tx
from batchctl.transitions import lanes
from batchctl.transitions.common import event, open_group, wake

_DUE = 1_000  # retries, and gates, that one claim may wake: the next takes the rest


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
