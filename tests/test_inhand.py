"""Items between claim and record: slots, queueing ahead, withdrawal, late outcomes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processor_kit import item

from batchctl.errors import ConfigError
from batchctl.inflight import InFlight
from batchctl.inhand import InHand
from batchctl.model import Broken, Cancelled, Completed, Item, Outcome
from batchctl.processors.base import Context, Done
from batchctl.running import Ended


@dataclass
class Hands:
    """A processor whose items end when the test says so; what is past `width` waits in it."""

    width: int = 1 << 30
    jobs: dict[int, tuple[Context, Done]] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    cancelled: list[tuple[int, bool]] = field(default_factory=list)

    def start(self, item: Item, context: Context, done: Done) -> None:
        self.jobs[item.number] = (context, done)
        if len(self.jobs) - len(self.queue) > self.width:
            self.queue.append(item.number)
        else:
            context.started()

    def end(self, number: int, outcome: Outcome | None = None) -> None:
        self.jobs.pop(number)[1](outcome or Completed(number))

    def cancel(self, number: int, *, hand_back: bool) -> None:
        self.cancelled.append((number, hand_back))

    def withdraw(self) -> list[int]:
        numbers, self.queue = self.queue, []
        for number in numbers:
            del self.jobs[number]
        return numbers

    def resize(self, width: int) -> None:
        self.width = width

    def close(self) -> None: ...


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[InFlight]:
    marks = InFlight(tmp_path / "w.inflight", create=True)
    yield marks
    marks.close()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def hand(marks: InFlight, hands: Hands) -> InHand:
    return InHand(marks, 2, lambda _: hands)


def numbers(found: list[Ended]) -> list[int]:
    return [one.item.number for one in found]


def collect(hand: InHand, most: int = 100) -> list[Ended]:
    return hand.collect(0.0, 0.0, most)


def test_an_item_is_started_marked_and_ended(hand: InHand, hands: Hands, marks: InFlight) -> None:
    hand.give([item(1, claim_no=4)])
    assert [(mark.item_id, mark.claim_no) for mark in marks.started()] == [(1, 4)]
    hands.end(1, Completed("done"))
    (ended,) = collect(hand)
    assert (ended.item.number, ended.outcome) == (1, Completed("done"))
    assert ended.started_at is not None
    assert ended.started_at <= ended.ended_at
    assert marks.started() == []
    assert len(hand) == 0


def test_one_processor_may_queue_ahead_but_two_share_the_slots(hand: InHand, hands: Hands) -> None:
    hand.give(item(n) for n in (1, 2, 3))
    assert sorted(hands.jobs) == [1, 2, 3]
    hand.give([item(4, processor="q"), item(5)])
    assert sorted(hands.jobs) == [1, 2, 3]
    hands.end(1)
    assert sorted(hands.jobs) == [2, 3]
    hands.end(2)
    assert sorted(hands.jobs) == [3, 4]
    assert len(hand) == 3


def test_an_item_that_ends_while_it_is_started_makes_room_for_the_next(marks: InFlight) -> None:
    class AtOnce(Hands):
        def start(self, item: Item, context: Context, done: Done) -> None:
            context.started()
            done(Completed(item.number))

    instant = AtOnce()
    hand = InHand(marks, 1, lambda _: instant)
    hand.give(item(n, processor=f"p{n % 2}") for n in range(1, 2_001))  # no recursion, however many
    assert len(collect(hand, 5_000)) == 2_000


def test_room_is_the_free_slots_and_no_more_at_first(hand: InHand) -> None:
    assert hand.room() == 2
    hand.give([item(1)])
    assert (hand.room(), hand.starving) == (1, True)
    hand.give([item(2)])
    assert (hand.room(), hand.starving) == (0, False)


def test_outcomes_are_ours_until_they_are_recorded(hand: InHand, hands: Hands) -> None:
    hand.give([item(1), item(2)])
    hands.end(1)
    assert hand.numbers == {1, 2}
    ended = collect(hand)
    assert hand.numbers == {1, 2}
    hand.recorded(ended)
    assert hand.numbers == {2}


def test_collect_takes_at_most_so_many_and_keeps_the_rest(hand: InHand, hands: Hands) -> None:
    hand.give(item(n) for n in (1, 2, 3))
    for n in (1, 2, 3):
        hands.end(n)
    assert numbers(collect(hand, 2)) == [1, 2]
    assert numbers(collect(hand, 2)) == [3]


def test_wake_ends_a_collect_that_waits(hand: InHand) -> None:
    threading.Timer(0.0, hand.wake).start()
    assert hand.collect(60.0, 0.0, 10) == []


def test_an_outcome_from_another_thread_ends_the_wait(hand: InHand, hands: Hands) -> None:
    hand.give([item(1)])
    threading.Timer(0.0, hands.end, [1]).start()
    assert numbers(hand.collect(60.0, 0.0, 10)) == [1]


def test_withdraw_takes_back_what_was_not_started(marks: InFlight) -> None:
    p, q = Hands(width=1), Hands(width=1)
    hand = InHand(marks, 4, lambda one: p if one.processor == "p" else q)
    hand.give([item(1), item(2), item(3, processor="q"), item(4, processor="q"), item(5)])
    assert sorted(one.number for one in hand.withdraw("q")) == [4]
    assert sorted(one.number for one in hand.withdraw()) == [2, 5]
    assert hand.numbers == {1, 3}
    p.end(1)
    q.end(3)
    assert numbers(collect(hand)) == [1, 3]
    assert len(hand) == 0


def test_cancel_tells_the_processor_of_what_runs_and_of_nothing_else(hand: InHand, hands: Hands) -> None:
    hand.give([item(1), item(2)])
    hand.cancel([2, 99], hand_back=False)
    hand.cancel([1], hand_back=True)
    assert hands.cancelled == [(2, False), (1, True)]
    hands.end(2, Cancelled())
    assert collect(hand)[0].outcome == Cancelled()


def test_outcomes_after_abandon_are_dropped(hand: InHand, hands: Hands) -> None:
    hand.give(item(n, processor=name) for n, name in ((1, "p"), (2, "q"), (3, "p")))
    assert sorted(one.number for one in hand.abandon()) == [1, 2, 3]
    hands.end(1)
    assert collect(hand) == []
    assert len(hand) == 0


def test_a_second_answer_is_dropped(hand: InHand, hands: Hands) -> None:
    hand.give([item(1)])
    _, done = hands.jobs[1]
    done(Completed(1))
    done(Completed(2))
    assert [one.outcome for one in collect(hand)] == [Completed(1)]


def test_an_item_claimed_anew_waits_until_its_lost_claim_has_ended_here(
    hand: InHand, hands: Hands, marks: InFlight
) -> None:
    """We were declared dead, claimed it again, and the first try still runs: never two at once."""
    hand.give([item(1, claim_no=1)])
    hand.give([item(1, claim_no=2)])
    assert [mark.claim_no for mark in marks.started()] == [1]
    hands.end(1)
    assert [mark.claim_no for mark in marks.started()] == [2]
    hands.end(1)
    assert [one.item.claim_no for one in collect(hand)] == [1, 2]
    hand.give([item(2), item(3, processor="q")])
    assert len(hands.jobs) == 2


def test_a_processor_that_cannot_be_made_breaks_its_items(marks: InFlight) -> None:
    def processor_of(_: Item) -> Hands:
        raise ConfigError("the handler cannot be found", details=["batchctl.yaml:3"])

    hand = InHand(marks, 2, processor_of)
    hand.give([item(1)])
    (ended,) = collect(hand)
    assert isinstance(ended.outcome, Broken)
    assert ended.outcome.error.type == "NotConfigured"
    assert "batchctl.yaml:3" in ended.outcome.error.message
    assert ended.started_at is None


def test_progress_and_log_are_told_once(hand: InHand, hands: Hands) -> None:
    hand.give([item(1), item(2)])
    context, _ = hands.jobs[1]
    context.progress(250)
    context.log("one\n")
    context.log("two\n")
    assert [(one.number, percent, text) for one, percent, text in hand.news()] == [(1, 100.0, "one\ntwo\n")]
    assert hand.news() == []
    context.progress(-5)
    context.log("three\n")
    hands.end(1)
    assert collect(hand)[0].log == "three\n"
    assert hand.news() == []


def test_a_time_that_a_child_reports_is_taken_and_needs_no_mark(hand: InHand, hands: Hands, marks: InFlight) -> None:
    hands.width = 0
    hand.give([item(1)])
    hands.jobs[1][0].started(1_700_000_000_000)
    assert marks.started() == []
    hands.queue.clear()
    hands.end(1)
    assert collect(hand)[0].started_at == 1_700_000_000_000


def test_items_that_end_from_many_threads_are_all_there(marks: InFlight) -> None:
    class Threads(Hands):
        def start(self, item: Item, context: Context, done: Done) -> None:
            def run() -> None:
                context.started()
                done(Completed(item.number))

            threading.Thread(target=run).start()

    threads = Threads()
    hand = InHand(marks, 8, lambda _: threads)
    hand.give(item(n, processor=f"p{n % 3}") for n in range(1, 301))
    found: list[Ended] = []
    while len(found) < 300:
        more = hand.collect(30.0, 0.0, 50)
        assert more, "an outcome was lost"
        found += more
    assert sorted(numbers(found)) == list(range(1, 301))
    assert (len(hand), marks.started()) == (0, [])


def test_a_collect_that_gathers_wakes_where_half_has_ended(hand: InHand, hands: Hands) -> None:
    hand.give(item(n) for n in range(1, 9))
    hands.end(1)
    back = threading.Event()
    in_time: list[bool] = []

    def end_half() -> None:
        for number in range(2, 7):
            hands.end(number)
        in_time.append(back.wait(30.0))

    half = threading.Timer(0.1, end_half)
    half.start()
    hand.collect(60.0, 60.0, 100)
    back.set()
    half.join()
    assert in_time == [True]


def test_the_rate_counts_from_the_first_start(hand: InHand, hands: Hands) -> None:
    """However long a processor took to get going, fast items are claimed ahead at once."""
    hand.give([item(1), item(2)])
    for n in (1, 2):
        hands.end(n)
    assert len(collect(hand)) == 2
    assert hand.room() > 2
