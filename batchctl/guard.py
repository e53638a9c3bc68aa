"""The outage guard (promise 4): what a run of failures at one origin means. Pure.

A failure counts as usual until the guard trips: after several in a row that no answer came between. An origin that
never answered anybody may be a slip in the data, so several different items must have failed on it. Then it is out:
whatever it does not answer waits and costs no attempt, one item at a time probes it after growing pauses, an answer
ends it. Where that takes longer than `max_outage`, failures count again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum, auto

RUN = 3  # failures in a row, or items that never got an answer
FIRST_PAUSE = 5_000  # ms until the first probe
LONGEST_PAUSE = 300_000  # ms
_ASKED_FOR = 3_600_000  # ms: what a receiver asks for with Retry-After is heeded up to here


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a receiver of a processor's requests; times in ms UTC, see the table `outages`."""

    processor: str
    origin: str
    answered: bool = False
    failures: int = 0
    throttled_since: int | None = None
    out_since: int | None = None
    expires_at: int | None = None
    gates: bool = False
    probe_at: int | None = None
    pause_ms: int = 0
    probe_item: int | None = None
    probe_claim: int | None = None
    refund: bool = False
    resuming: bool = False
    error_type: str | None = None
    error_message: str | None = None

    @property
    def troubled(self) -> bool:
        """Whether there is anything to remember beyond whether it has ever answered."""
        waits = self.refund or self.resuming
        return waits or self.failures > 0 or self.out_since is not None or self.throttled_since is not None

    def out(self, now: int) -> bool:
        """Whether its items wait."""
        return self.out_since is not None and not self.expired(now)

    def expired(self, now: int) -> bool:
        """It has been out for longer than `max_outage`."""
        return self.out_since is not None and self.expires_at is not None and now >= self.expires_at

    def probed_by(self, item: int, claim_no: int) -> bool:
        return self.out_since is not None and (self.probe_item, self.probe_claim) == (item, claim_no)


class Verdict(Enum):
    """A failure COUNTS as usual, has TRIPPED the guard (with those before it), or WAITS for the end of an outage."""

    COUNTS = auto()
    TRIPPED = auto()
    WAITS = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that found nobody.

    others       items that had failed there before, since it last answered
    known        somebody has got an answer from the processor's receivers, whatever their origin
    gates        the origin serves every item of the processor
    max_outage   ms
    retry_after  ms, where the receiver said so
    """

    item: int
    claim_no: int
    error_type: str
    error_message: str
    others: Collection[int] = ()
    known: bool = False
    gates: bool = False
    max_outage: int = 86_400_000
    retry_after: int = 0


def failed(origin: Origin, failure: Failure, now: int) -> tuple[Origin, Verdict]:
    """What the origin is after a failure, and what that means for the item."""
    if origin.expired(now):
        return origin, Verdict.COUNTS
    if origin.out(now):
        return _still_out(origin, failure, now), Verdict.WAITS
    after = replace(origin, failures=origin.failures + 1)
    several = len({failure.item, *failure.others}) >= RUN
    if after.failures < RUN or not (several or origin.answered or failure.known):
        return after, Verdict.COUNTS
    tripped = replace(
        after,
        out_since=now,
        expires_at=now + failure.max_outage,
        gates=failure.gates,
        pause_ms=FIRST_PAUSE,
        probe_at=now + _pause(FIRST_PAUSE, failure),
        probe_item=None,
        probe_claim=None,
        refund=True,
        resuming=False,
        error_type=failure.error_type,
        error_message=failure.error_message,
    )
    return tripped, Verdict.TRIPPED


def _still_out(origin: Origin, failure: Failure, now: int) -> Origin:
    if not origin.probed_by(failure.item, failure.claim_no):
        return origin
    pause = min(origin.pause_ms * 2, LONGEST_PAUSE)
    return replace(
        origin,
        pause_ms=pause,
        probe_at=now + _pause(pause, failure),
        probe_item=None,
        probe_claim=None,
        error_type=failure.error_type,
        error_message=failure.error_message,
    )


def _pause(pause: int, failure: Failure) -> int:
    return max(pause, min(failure.retry_after, _ASKED_FOR))


def answered(origin: Origin) -> Origin:
    """What the origin is after an answer: nothing is held against it any more."""
    return Origin(
        origin.processor,
        origin.origin,
        answered=True,
        refund=origin.refund,
        resuming=origin.resuming or origin.out_since is not None,
    )


def throttled(origin: Origin, now: int) -> Origin:
    """It answers, and wants fewer requests."""
    since = now if origin.throttled_since is None else origin.throttled_since
    return replace(answered(origin), throttled_since=since)


def may_wait(origin: Origin, max_outage: int, now: int) -> bool:
    """Whether a throttled item still costs no attempt: not where nothing else came for longer than `max_outage` ms."""
    return origin.throttled_since is None or now - origin.throttled_since < max_outage
