"""When the next start may be under a rate: the generic cell rate algorithm without bursts. Pure.

Times are milliseconds. What is remembered of a rate is one time, its `tat`: no start may come before it.
"""

from __future__ import annotations

import math

AHEAD = 100.0  # a start may be reserved so long before it happens
LEAD = 50.0  # and this long at least: to store the claim takes a moment, and an item should start when it was to


def interval(count: int, seconds: float) -> float:
    """The time between two starts of so many in so many seconds."""
    return seconds * 1000 / count


def starts(tat: float, interval: float, now: float, most: int) -> list[float]:
    """The starts that may be reserved now, at most so many; [] where the first of them is too far ahead."""
    first = earliest(tat, now)
    number = math.floor((now + AHEAD - first) / interval) + 1 if first <= now + AHEAD else 0
    return [first + n * interval for n in range(min(number, most))]


def earliest(tat: float, now: float) -> float:
    """When something that is claimed now may start."""
    return max(tat, now + LEAD)


def too_early(start: float, now: float) -> bool:
    """Whether it is too early to reserve that start."""
    return start > now + AHEAD


def opens(tat: float) -> float:
    """From when on the next start can be reserved."""
    return tat - AHEAD
