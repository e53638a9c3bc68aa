"""Times as JSON shows them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(ms: int | None) -> str | None:
    """ms since 1970 UTC → `2026-03-01T09:30:00.125Z`."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def ms_of(text: str | None) -> int | None:
    """The other way: `2026-03-01T09:30:00.125Z` → ms since 1970 UTC."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
