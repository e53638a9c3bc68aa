"""What is to be told to people, as plain facts, and who turns such facts into messages.

The store writes messages in the commit of what they tell of; what they say and whom they go to is the announcer's
business. A store that was opened without one announces nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed items of one batch whose errors are alike; key and message are the first one's."""

    count: int
    key: str
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """A batch that has just ended. Times in ms UTC.

    event       its final state
    begun_at    when this run began: the first claim, or the retry that opened the batch again
    failures    the most frequent errors among the first `looked_at` failed items: a commit has no time for more
    """

    event: str
    at: int
    id: str
    name: str | None
    processor: str
    organization: str
    user: str | None
    kind: str
    run_no: int
    total: int
    completed: int
    failed: int
    cancelled: int
    created_at: int
    begun_at: int
    failures: Sequence[FailureGroup] = ()
    looked_at: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should know, raised once and cleared once. Times in ms UTC.

    name           what kind: `queue_depth`, `processor_broken`, `notification_dead`, …
    message        one sentence
    raised         False where it is over
    since          when it began
    processor, organization   whose business it is; None: the whole queue's
    command        the next command to type
    """

    name: str
    message: str
    raised: bool = True
    since: int | None = None
    processor: str | None = None
    organization: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One message for one target; `target` names it in the config, `message` is all that is sent, without secrets."""

    target: str
    message: bytes


class Announcer(Protocol):
    """Pure and quick: it is called while the store's write lock is held. Never raises."""

    def wants(self, event: str, processor: str | None, organization: str | None) -> bool:
        """Whether anybody wants to know of such an event."""

    def batch_ended(self, end: BatchEnd) -> Sequence[Notice]:
        """The messages about it."""

    def alert(self, alert: Alert, *, but: str | None = None) -> Sequence[Notice]:
        """The messages about it; none for the target `but`."""
