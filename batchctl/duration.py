"""Durations, sizes, percentages, rates and points in time, as people write them. Pure.

Every parser raises ValueError with one clear sentence; the caller adds the place.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

_UNITS = {
    "ms": 0.001,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
    "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip
_SIZES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_RATE = re.compile(r"(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([a-z]+)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LONGEST = 100 * 365 * 86400.0


def duration(text: str | float) -> float:
    """`30s`, `15m`, `1h30m`, `500ms`, `90d`, or a plain number of seconds → seconds."""
    if isinstance(text, bool):
        raise ValueError(f"`{text}` is not a duration: write 30s, 15m or 1h30m")
    if isinstance(text, int | float):
        return _in_range(float(text), text)
    words = text.strip().lower()
    if _NUMBER.fullmatch(words):
        return _in_range(float(words), text)
    total, at = 0.0, 0
    while match := _PART.match(words, at):
        if match[2] not in _UNITS:
            raise ValueError(f"`{match[2]}` is not a unit of time: ms, s, m, h, d and w are")
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if at == 0 or at != len(words):
        raise ValueError(f"`{text}` is not a duration: write 30s, 15m or 1h30m")
    return _in_range(total, text)


def age(text: str) -> float:
    """A duration that says its unit → seconds. For what is deleted by it: `30` may be meant as days."""
    if _NUMBER.fullmatch(str(text).strip()):
        raise ValueError(f"`{text}` has no unit: write {text}d for days, or {text}h for hours")
    return duration(text)


def _in_range(seconds: float, text: object) -> float:
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"`{text}` is not a duration between 0 and 100 years")
    return seconds


def size(text: str | int) -> int:
    """`50MB`, `10MiB`, `512k` or a plain number of bytes → bytes. MB is 10⁶, MiB is 2²⁰."""
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(f"`{text}` is not a size: it is negative")
        return text
    match = _SIZE.fullmatch(str(text).strip().lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError(f"`{text}` is not a size: write 500KB, 50MB or 2GiB")
    return int(float(match[1]) * _SIZES[match[2]])


def percent(text: str) -> float:
    """`80%` → 0.8."""
    match = _PERCENT.fullmatch(str(text).strip())
    if match is None or not 0 <= float(match[1]) <= 100:
        raise ValueError(f"`{text}` is not a percentage: write 10%")
    return float(match[1]) / 100


def rate(text: str) -> tuple[int, float]:
    """`1/s`, `3/h`, `100/15m` → (how many, in how many seconds)."""
    match = _RATE.fullmatch(str(text).strip().lower())
    if match is None or match[3] not in _UNITS or int(match[1]) < 1 or float(match[2] or 1) <= 0:
        raise ValueError(f"`{text}` is not a rate: write 1/s, 3/h or 100/15m")
    return int(match[1]), float(match[2] or 1) * _UNITS[match[3]]


def moment(text: str, *, now: int, past: bool = False) -> int:
    """A TIME of the command line → ms UTC. `now` is in ms UTC; what names no zone is in the local one.

    `2026-03-01`, `2026-03-01T02:00`, `2026-03-01 02:00:30+01:00`, `02:00` (the next such time), `+2h`.
    With `past` (as `--since` wants it) `02:00` is the last such time, and `24h`, `-24h` lie behind us.
    """
    words = text.strip()
    try:
        if words.startswith("+"):
            return now + round(duration(words[1:]) * 1000)
        if past and (words.startswith("-") or _is_duration(words)):
            return now - round(duration(words.removeprefix("-")) * 1000)
        if (clock := _clock(words)) is not None:
            return _clock_ms(clock, now, past=past)
        return _ms(datetime.fromisoformat(words))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"`{text}` is not a time: write 2026-03-01T02:00, 02:00 or {'24h' if past else '+2h'}"
        ) from error


def _is_duration(text: str) -> bool:
    try:
        duration(text)
    except ValueError:
        return False
    return not text.isdigit()  # 20260301 is a date


def _clock(text: str) -> time | None:
    return time.fromisoformat(text.rjust(5, "0")) if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text) else None


def _clock_ms(clock: time, now: int, *, past: bool) -> int:
    """The nearest day on which the wall clock shows `clock`; a change to summer time moves no day."""
    today = datetime.fromtimestamp(now / 1000).astimezone().date()
    days: list[date] = [today + timedelta(days=n) for n in (-1, 0, 1)]
    times = [_ms(datetime.combine(day, clock)) for day in days]
    return max(t for t in times if t <= now) if past else min(t for t in times if t > now)


def _ms(when: datetime) -> int:
    return round(when.astimezone(UTC).timestamp() * 1000)


def iso(ms: int) -> str:
    """ms UTC → `2026-03-01T02:00:00Z`, with milliseconds where there are any."""
    when = _iso_second(ms // 1000)
    return f"{when}.{ms % 1000:03d}Z" if ms % 1000 else f"{when}Z"


@lru_cache(maxsize=1024)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
