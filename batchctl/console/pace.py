"""How fast batches go, from what was seen of them lately. Pure but for the times it is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any


class Pace:
    """Items a second over a sliding window (seconds) of glimpses."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._seen: dict[str, deque[tuple[float, int]]] = {}
        self.first: float | None = None

    def note(self, batch: Mapping[str, Any], now: float) -> None:
        """Remember how far the batch is at `now` (monotonic seconds)."""
        self.first = now if self.first is None else self.first
        seen = self._seen.setdefault(batch["id"], deque())
        if seen and batch["processed_items"] < seen[-1][1]:  # items went back for another try
            seen.clear()
        seen.append((now, batch["processed_items"]))
        while len(seen) > 2 and now - seen[1][0] >= self._window:
            seen.popleft()

    def rate(self, batch: Mapping[str, Any]) -> float | None:
        """Items a second; None while nothing tells."""
        seen = self._seen.get(batch["id"])
        if not seen or seen[-1][0] <= seen[0][0]:
            return None
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def left(self, batch: Mapping[str, Any]) -> float | None:
        """Seconds to the end of the batch at that rate."""
        rate = self.rate(batch)
        left: int = batch["total_items"] - batch["processed_items"]
        if rate:
            return left / rate
        eta: float | None = batch["eta_seconds"]
        return eta

    def forget(self, number: str) -> None:
        self._seen.pop(number, None)
