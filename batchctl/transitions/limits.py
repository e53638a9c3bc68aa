"""`max_failures`: a batch stops when so many of its items have failed. What runs is recorded, the rest is cancelled."""

from __future__ import annotations

import math
from collections.abc import Iterable

from batchctl.engines.base import Tx
from batchctl.transitions.common import event

STOPPED = "limit"  # the token of a cancellation that the recorder began: no process has it, so whoever looks goes on


def failure_limit(allowed: int | float | None, total: int) -> int | None:
    """So many failures stop a batch of `total` items. `allowed`: a number, or (a float) a share of them, rounded up."""
    if allowed is None or not isinstance(allowed, float):
        return allowed
    return max(1, math.ceil(round(allowed * total, 6)))  # 7% of 100 is 7, whatever binary fractions say


def stop(tx: Tx, batch_no: int, failures: int, limit: int, organization: str, now: int) -> None:
    """The batch's rest is to be cancelled, in chunks, as `cancel` does it. Its group's gate is shut by `shut`."""
    tx.run("reach_limit", {"no": batch_no, "loader": STOPPED})
    detail = {"failures": failures, "limit": limit}
    event(tx, "limit_reached", now, organization=organization, batch_no=batch_no, detail=detail)


def shut(tx: Tx, batch_nos: Iterable[int]) -> None:
    """No more claims from these batches, and workers give back what they have not started."""
    stopped = sorted(batch_nos)
    if stopped:
        tx.value("lock_turns")
        for no in stopped:
            tx.run("gate_cancel", {"no": no})
        tx.run("raise_control")


def told(failures: int, limit: int) -> str:
    """Why the batch ended, for people."""
    found = "1 failure" if failures == 1 else f"{failures:,} failures"
    return f"stopped after {found}: max_failures allows fewer than {limit:,}"
