"""How many batches a user or an organization may bring in: counted in the commit that makes them exist."""

from __future__ import annotations

import time

from batchctl.engines.base import Tx
from batchctl.errors import LimitReached
from batchctl.model import NewBatch, Quota

_UNITS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}


def refuse_over_quota(tx: Tx, new: NewBatch, batches: int, now: int) -> None:
    """Raises LimitReached where that many more are too many, with the time from which they are not.

    What cleanup has deleted is not counted any more; what was cancelled, or has failed, is.
    """
    for quota in new.quotas:
        _refuse(tx, new, quota, batches, now)


def _refuse(tx: Tx, new: NewBatch, quota: Quota, batches: int, now: int) -> None:
    if batches > quota.count:
        text = f"{batches:,} batches, but {_allowed(new, quota)}"
        raise LimitReached(text, hint="a larger --split makes fewer batches, if the processor accepts that")
    window = round(quota.seconds * 1000)
    where = {
        "organization": new.organization or "",
        "processor": quota.processor,
        "submitter": quota.user,
        "since": now - window,
    }
    oldest = tx.value("nth_newest_batch", where | {"nth": quota.count - batches})
    if oldest is None:
        return
    came = tx.value("count_batches", where)
    come = f"{came:,} {'batch has' if came == 1 else 'batches have'} come since {_clock(now - window, now)}"
    again = f"try again at {_clock(oldest + window + 1000, now)}"
    raise LimitReached(f"{come}, and {_allowed(new, quota)}: {again}")


def _allowed(new: NewBatch, quota: Quota) -> str:
    """ "ann may enqueue 3 in any hour for create-invoice (batches_per_user)"."""
    if quota.user is not None:
        who = f"{quota.user or 'a user'} may"
    else:
        who = f"organization {new.organization} may" if new.organization else "users without an organization may"
    what = f" for {quota.processor}" if quota.processor else ""
    return f"{who} enqueue {quota.count:,} in any {_span(quota.seconds)}{what} ({quota.name})"


def _span(seconds: float) -> str:
    """ "hour", "15 minutes"."""
    for length, name in sorted(_UNITS.items(), reverse=True):
        if seconds >= length and seconds % length == 0:
            return name if seconds == length else f"{seconds / length:,.0f} {name}s"
    return f"{seconds:g} seconds"


def _clock(ms: int, now: int) -> str:
    """A local time; with its date where that is not today's."""
    then, today = time.localtime(ms / 1000), time.localtime(now / 1000)
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", then)
