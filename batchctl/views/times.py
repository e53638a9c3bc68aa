"""Times as JSON shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def iso(ms: int | None) -> str | None:
    """ms since 1970 UTC → `2026-03-01T09:30:00.125Z`."""
    return None if ms is None else f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=1024)  # neighbours in a list share their seconds
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def ms_of(text: str | None) -> int | None:
    """The other way: `2026-03-01T09:30:00.125Z` → ms since 1970 UTC."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
