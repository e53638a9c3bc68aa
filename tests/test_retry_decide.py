"""What comes after an outcome: pure."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchctl.model import (
    AttemptOutcome,
    Broken,
    Cancelled,
    Completed,
    Down,
    Failed,
    HandedBack,
    ItemError,
    ItemState,
    Outcome,
    WaitingFor,
)
from batchctl.retry import Backoff, Policy, decide, pause_after

NOW = 1_800_000_000_000
ERROR = ItemError("Timeout", "timed out")
FINAL = ItemError("NotFound", "no such customer", permanent=True)
STEADY = Policy(backoff=Backoff(jitter=0.0))
SECONDS = st.floats(0.001, 86_400)


@pytest.mark.parametrize(
    ("outcome", "state", "kept_as", "counted"),
    [
        (Completed({"a": 1}), ItemState.COMPLETED, AttemptOutcome.COMPLETED, True),
        (Cancelled(), ItemState.CANCELLED, AttemptOutcome.CANCELLED, True),
        (HandedBack(), ItemState.PENDING, AttemptOutcome.HANDED_BACK, False),
        (Broken(ERROR), ItemState.PENDING, AttemptOutcome.HANDED_BACK, False),
        (Failed(FINAL), ItemState.FAILED, AttemptOutcome.FAILED, True),
        (Failed(ERROR), ItemState.WAITING, AttemptOutcome.RETRY, True),
        (Down(ERROR, "https://erp.example.com"), ItemState.WAITING, AttemptOutcome.RETRY, True),
    ],
)
def test_each_outcome_has_its_way(outcome: Outcome, state: ItemState, kept_as: AttemptOutcome, counted: bool) -> None:
    decision = decide(outcome, 1, STEADY, NOW)
    assert (decision.state, decision.outcome, decision.counted) == (state, kept_as, counted)
    waits = state is ItemState.WAITING
    assert (decision.waiting_for is WaitingFor.RETRY) == (decision.next_attempt_at is not None) == waits


@pytest.mark.parametrize(("max_retries", "tries"), [(0, 1), (1, 2), (3, 4)])
def test_an_item_is_tried_once_and_then_max_retries_times(max_retries: int, tries: int) -> None:
    policy = Policy(max_retries=max_retries)
    states = [decide(Failed(ERROR), attempt, policy, NOW).state for attempt in range(1, tries + 1)]
    assert states == [ItemState.WAITING] * (tries - 1) + [ItemState.FAILED]


def test_the_default_pauses_are_those_of_the_contract() -> None:
    assert [pause_after(attempt, STEADY.backoff) for attempt in range(1, 6)] == [30, 120, 480, 900, 900]


def test_the_next_try_is_due_after_the_pause() -> None:
    assert decide(Failed(ERROR), 2, STEADY, NOW).next_attempt_at == NOW + 120_000


@pytest.mark.parametrize(("asked", "pause"), [(5.0, 30.0), (300.0, 300.0), (5_000.0, 5_000.0), (0.0, 30.0)])
def test_the_receiver_may_ask_for_a_longer_pause_and_not_for_a_shorter_one(asked: float, pause: float) -> None:
    assert decide(Failed(ERROR, retry_after=asked), 1, STEADY, NOW).next_attempt_at == NOW + pause * 1000
    assert decide(Down(ERROR, "o", retry_after=asked), 1, STEADY, NOW).next_attempt_at == NOW + pause * 1000


@pytest.mark.parametrize("asked", [math.inf, math.nan, -math.inf, -5.0, 1e300])
def test_a_senseless_wish_neither_raises_nor_parks_for_ever(asked: float) -> None:
    due = decide(Failed(ERROR, retry_after=asked), 1, STEADY, NOW).next_attempt_at
    assert due is not None
    assert NOW + 30_000 <= due <= NOW + 367 * 86_400_000


def test_a_wish_gives_no_further_try() -> None:
    assert decide(Failed(ERROR, retry_after=5.0), 4, Policy(max_retries=3), NOW).state is ItemState.FAILED
    assert decide(Failed(FINAL, retry_after=5.0), 1, STEADY, NOW).state is ItemState.FAILED


@given(
    attempt=st.integers(1, 100_000),
    base=SECONDS,
    factor=st.floats(1, 100),
    most=SECONDS,
    jitter=st.floats(0, 1),
)
def test_a_pause_is_never_negative_and_never_over_its_cap(
    attempt: int, base: float, factor: float, most: float, jitter: float
) -> None:
    backoff = Backoff(base, factor, most, jitter)
    plain = min(base * factor ** min(attempt - 1, 100), most)
    pause = pause_after(attempt, backoff)
    assert 0 <= pause <= most * (1 + jitter) * 1.000001
    assert pause >= plain * (1 - jitter) * 0.999999


def test_jitter_spreads() -> None:
    pauses = {round(pause_after(1, Backoff()), 3) for _ in range(50)}
    assert len(pauses) > 10
    assert min(pauses) >= 27
    assert max(pauses) <= 33
