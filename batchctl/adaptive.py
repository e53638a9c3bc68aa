"""`concurrency: auto`: how many items of a processor may run at once, by what their receiver bears. Pure.

Additive increase, multiplicative decrease: one more for each window in which latency holds and the limit was used;
half, once a window, when the receiver asks for less (429), is overwhelmed (503) or does not answer in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

START = 4
MOST = 4096
_WINDOW = 250  # ms at the least; else as long as an item takes
_LONGEST = 30_000  # ms
_HOLDS = 1.5  # latency holds up to so many times the usual
_SLOWLY = 0.05  # how far the usual moves to a slower window; to a faster one it goes half way


@dataclass(frozen=True, slots=True)
class Seen:
    """What one commit tells: how long answers took (ms), whether there was too much, how many were running."""

    took: Sequence[int] = ()
    congested: bool = False
    held: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """`usual`: ms that an item takes; the window since `since` (ms UTC) has `count` answers that took `total` ms, and
    `full` where the limit was reached in it, `cut` where it began with a cut."""

    limit: int = START
    usual: float | None = None
    since: int = 0
    count: int = 0
    total: int = 0
    full: bool = False
    cut: bool = False


def observe(state: State, seen: Seen, now: int) -> State:
    """The state after what was seen."""
    if not state.since or now < state.since:
        state = replace(state, since=now)
    state = replace(
        state,
        count=state.count + len(seen.took),
        total=state.total + sum(seen.took),
        full=state.full or seen.held >= state.limit,
    )
    over = now - state.since >= _window(state)
    if seen.congested and (over or not state.cut):  # what was under way at a cut tells nothing new
        return State(max(1, state.limit // 2), state.usual, since=now, cut=True)
    if seen.congested or not over:
        return state
    return _next(state, now) if state.count else state


def _window(state: State) -> float:
    return min(max(_WINDOW, state.usual or 0), _LONGEST)


def _next(state: State, now: int) -> State:
    mean = state.total / state.count
    usual = mean if state.usual is None else state.usual
    holds = mean <= usual * _HOLDS
    usual += (mean - usual) * (0.5 if mean < usual else _SLOWLY)
    limit = min(MOST, state.limit + 1) if holds and state.full else state.limit
    return State(limit, usual, since=now)
