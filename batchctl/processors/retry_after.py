"""When a receiver wants to be asked again: `Retry-After` and `retry-after-ms`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

LONGEST = 7 * 86400.0


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from `now` until the next try, or None where the headers do not say (or do not make sense).

    `headers` finds names whatever their case. `retry-after-ms` (OpenAI, Azure) is finer and wins; `Retry-After` is a
    number of seconds, or an HTTP date. A moment in the past is 0; more than a week is cut to a week, so that a
    receiver's slip cannot park an item for ever.
    """
    seconds = _number(headers.get("retry-after-ms"), 0.001)
    if seconds is None:
        text = headers.get("retry-after")
        seconds = _number(text, 1.0)
        if seconds is None and text:
            seconds = _until(text, now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST)


def _number(text: str | None, unit: float) -> float | None:
    try:
        value = float(text) * unit if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _until(text: str, now: datetime) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
