"""What comes after an outcome: pure, given the budget, the policy and the time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import assert_never

from batchctl.model import (
    AttemptOutcome,
    Broken,
    Cancelled,
    Completed,
    Down,
    Failed,
    HandedBack,
    ItemState,
    Outcome,
    WaitingFor,
)

_LONGEST = 366 * 86_400.0  # seconds: a receiver's slip must not park an item for ever


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause in seconds before retry n is `min(base * factor ** (n - 1), max)`, give or take the share `jitter`."""

    base: float = 30.0
    factor: float = 4.0
    max: float = 900.0
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how soon."""

    max_retries: int = 3
    backoff: Backoff = Backoff()
    throttles: bool = False  # to be told to slow down costs no attempt: a rate, or `concurrency: auto`, heeds it


@dataclass(frozen=True, slots=True)
class Decision:
    """The item's next state; `counted` tells whether the try used up an attempt."""

    state: ItemState
    outcome: AttemptOutcome
    counted: bool
    waiting_for: WaitingFor | None = None
    next_attempt_at: int | None = None


def decide(outcome: Outcome, attempt: int, policy: Policy, now: int) -> Decision:
    """`attempt` is the number of this try (1 for the first that counts), `now` in ms."""
    match outcome:
        case Completed():
            return Decision(ItemState.COMPLETED, AttemptOutcome.COMPLETED, counted=True)
        case Cancelled():
            return Decision(ItemState.CANCELLED, AttemptOutcome.CANCELLED, counted=True)
        case HandedBack() | Broken():
            return Decision(ItemState.PENDING, AttemptOutcome.HANDED_BACK, counted=False)
        case Failed(error=error) if error.permanent:
            return Decision(ItemState.FAILED, AttemptOutcome.FAILED, counted=True)
        case Failed(throttled=True, retry_after=earliest) if policy.throttles:
            pause = _sane(earliest) or pause_after(attempt, policy.backoff)
            return Decision(
                ItemState.WAITING,
                AttemptOutcome.THROTTLED,
                counted=False,
                waiting_for=WaitingFor.RATE,
                next_attempt_at=now + round(pause * 1000),
            )
        case Failed(retry_after=earliest) | Down(retry_after=earliest):
            if attempt > policy.max_retries:
                return Decision(ItemState.FAILED, AttemptOutcome.FAILED, counted=True)
            pause = max(pause_after(attempt, policy.backoff), _sane(earliest))
            return Decision(
                ItemState.WAITING,
                AttemptOutcome.RETRY,
                counted=True,
                waiting_for=WaitingFor.RETRY,
                next_attempt_at=now + round(pause * 1000),
            )
        case _:
            assert_never(outcome)


def _sane(seconds: float | None) -> float:
    """What a receiver asks for, as a wait that ends and fits into the store: 0 where it makes no sense."""
    return min(seconds, _LONGEST) if seconds is not None and seconds > 0 else 0.0  # NaN compares as False


def pause_after(attempt: int, backoff: Backoff) -> float:
    """Seconds before the next try after `attempt` tries: exponential, capped, then spread by the jitter."""
    from tenacity import RetryCallState, Retrying, wait_exponential

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    pause = wait_exponential(multiplier=backoff.base, exp_base=backoff.factor, max=backoff.max)(state)
    return pause * (1 + backoff.jitter * random.uniform(-1, 1))  # noqa: S311 - spreads load, keeps no secret
