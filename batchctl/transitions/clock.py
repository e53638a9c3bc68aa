"""A clock that was set back must not make what waits for a retry wait for as much longer."""

from __future__ import annotations

from batchctl.engines.again import again, snapshot
from batchctl.engines.base import Engine, Row
from batchctl.transitions.common import event

_AHEAD = 1_000  # ms by which clocks of one system never differ
_CHUNK = 2_000


def set_back(engine: Engine) -> int:
    """Retries that follow a try which ended in what is now the future: from now on they wait as long as they were
    meant to. Those tries are moved to the present, so that nothing is moved twice. Returns how many there were; looks
    at a few rows only where there are none."""
    now = engine.now()
    latest = snapshot(engine, lambda tx: tx.value("latest_try_of_retries"))
    if latest is None or latest <= now + _AHEAD:
        return 0
    moved = after = 0
    while rows := _move(engine, now, after):
        moved, after = moved + len(rows), rows[-1][0]
    return moved


@again
def _move(engine: Engine, now: int, after: int) -> list[Row]:
    with engine.write() as tx:
        rows = tx.all("retries_of_future_tries", {"ahead": now + _AHEAD, "after": after, "limit": _CHUNK})
        if rows:
            tx.many("move_retry", [(ended - now, number) for number, _, ended in rows])
            tx.many("move_try", [(ended - now, ended - now, number, claim_no) for number, claim_no, ended in rows])
            event(tx, "clock_set_back", now, count=len(rows))
        return rows
