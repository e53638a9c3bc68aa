"""`concurrency: auto`: one more while latency holds, half when it is too much."""

from __future__ import annotations

from batchctl.adaptive import START, Seen, State, observe

WINDOW = 250


def windows(state: State, count: int, took: int, *, held: int | None = None) -> State:
    """So many windows full of answers that took so long each."""
    for _ in range(count):
        now = (state.since or 1_000_000) + max(WINDOW, int(state.usual or 0), took)
        seen = Seen([took] * state.limit, held=state.limit if held is None else held)
        if not state.since:
            state = observe(state, Seen(), now)
            now += max(WINDOW, took)
        state = observe(state, seen, now)
    return state


def test_it_grows_while_latency_holds() -> None:
    assert windows(State(), 10, 100).limit == START + 10


def test_it_does_not_grow_where_less_runs_than_may() -> None:
    assert windows(State(), 10, 100, held=2).limit == START


def test_it_stays_where_answers_take_longer_than_usual() -> None:
    state = windows(State(), 5, 100)
    slower = windows(state, 5, 300)
    assert slower.limit == state.limit
    assert slower.usual is not None
    assert 100 < slower.usual < 200  # the usual moves slowly


def test_what_is_slow_for_long_is_usual_at_last() -> None:
    state = windows(windows(State(), 5, 100), 60, 200)
    assert state.limit > START + 5


def test_it_halves_once_a_window() -> None:
    state = windows(State(), 12, 100)
    now = state.since + 1
    cut = observe(state, Seen(congested=True), now)
    assert cut.limit == state.limit // 2
    assert observe(cut, Seen(congested=True), now + 1).limit == cut.limit
    again = observe(cut, Seen(congested=True), now + WINDOW)
    assert again.limit == cut.limit // 2


def test_at_least_one_may_always_run() -> None:
    state = State(limit=1, since=1)
    assert observe(state, Seen(congested=True), 1000).limit == 1


def test_a_clock_that_was_set_back_begins_a_new_window() -> None:
    state = windows(State(), 3, 100)
    back = observe(state, Seen([100]), state.since - 10_000)
    assert back.since == state.since - 10_000
    assert back.limit == state.limit
