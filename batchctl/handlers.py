"""What authors of Python processors import: `from batchctl import Retry, Permanent, Unavailable`.

A handler is called as `handle(item, context)` and returns any JSON value or None. It says how it failed with one of
the exceptions here; any other exception is retried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from batchctl.duration import duration
from batchctl.model import BatchRef, FileRef

Pause = float | str | timedelta | None


class Retry(Exception):
    """Try the item again; it costs an attempt.

    after    not before this pause: seconds, `"5m"` or a timedelta; None leaves it to the processor's backoff
    """

    def __init__(self, message: str = "", *, after: Pause = None) -> None:
        super().__init__(message)
        self.after = seconds(after)


class Permanent(Exception):
    """Trying again can't help: the item fails now."""


class Unavailable(Exception):
    """What the handler needs is down for every item: it costs no attempt, and a probe finds out when it is back.

    after    as for Retry
    """

    def __init__(self, message: str = "", *, after: Pause = None) -> None:
        super().__init__(message)
        self.after = seconds(after)


def seconds(pause: Pause) -> float | None:
    """Raises ValueError where the text is no duration."""
    if isinstance(pause, timedelta):
        return pause.total_seconds()
    return None if pause is None else duration(pause)


@dataclass(slots=True, eq=False)
class Item:
    """The item in hand. `item["total"]`, `"total" in item` and `item.get("total")` read its payload.

    number            the item's number in the queue
    payload           the order; {} for a file
    file              the file's path, name, size, sha256, media_type; None for an order
    batch             id, name, organization, user, kind, created_at, total_items
    attempt           1 for the first try
    idempotency_key   random for each item, the same for all of its attempts; in a step with the step's name behind it
    steps             the results of the steps before this one, by name
    """

    number: int
    key: str
    payload: dict[str, Any]
    file: FileRef | None
    batch: BatchRef
    attempt: int
    idempotency_key: str
    steps: dict[str, Any] = field(default_factory=dict)

    @property
    def organization(self) -> str | None:
        return self.batch.organization

    @property
    def user(self) -> str | None:
        return self.batch.user

    def __getitem__(self, field: str) -> Any:
        return self.payload[field]

    def __contains__(self, field: object) -> bool:
        return field in self.payload

    def __iter__(self) -> Iterator[str]:
        return iter(self.payload)

    def get(self, field: str, default: Any = None) -> Any:
        return self.payload.get(field, default)


class Context(Protocol):
    """A handler's line to the queue. Its methods may be called from any thread."""

    @property
    def idempotency_key(self) -> str:
        """Random for each item, the same for all of its attempts."""

    @property
    def cancelled(self) -> bool:
        """True once somebody cancelled the item, or the worker stops: about a second remains to tidy up."""

    def progress(self, percent: float) -> None:
        """0 to 100; `show` and `watch` see it while the item runs."""

    def log(self, text: str) -> None:
        """A line for `logs ITEM`. What the handler prints is kept there too."""

    def artifact(self, path: str | Path) -> Path:
        """Remember a file that the item made, for `show ITEM`. Returns the absolute path."""
