"""Which groups one claim takes from together, by whose turn it is."""

from __future__ import annotations

import pytest

from batchctl.transitions.turns import TURN, Head, Want, arrange


def arranged(heads: list[Head], left: int, **rooms: int) -> list[tuple[str, int]]:
    """Every head has a group. (organization, how many) in order."""
    oldest = {head: (number, False) for number, head in enumerate(heads, 1)}
    found = arrange(sorted(heads), oldest, Want(left, {"p": 1_000} | rooms))
    return [(portion.organization, portion.wanted) for portion in found]


def test_organizations_with_the_same_turn_are_taken_together() -> None:
    heads: list[Head] = [(1, 0, name, "p") for name in "abcd"]
    assert arranged(heads, 3 * TURN) == [("a", TURN), ("b", TURN), ("c", TURN)]


def test_another_size_waits_for_the_next_list() -> None:
    heads: list[Head] = [(1, 0, name, "p") for name in "abc"]
    assert arranged(heads, TURN + 5) == [("a", TURN)]


def test_who_would_come_again_before_the_next_ends_the_list() -> None:
    assert arranged([(1, 0, "a", "p"), (1, TURN + 1, "b", "p")], 100) == [("a", TURN)]
    assert arranged([(1, 0, "b", "p"), (1, TURN, "a", "p")], 100) == [("b", TURN), ("a", TURN)]
    assert arranged([(1, 0, "a", "p"), (1, TURN, "b", "p")], 100) == [("a", TURN)]


def test_a_lower_priority_waits() -> None:
    assert arranged([(0, 0, "a", "p"), (1, 0, "b", "p")], 100) == [("a", 100)]


def test_one_organization_alone_takes_all_that_is_wanted() -> None:
    assert arranged([(1, 7, "a", "p")], 55) == [("a", 55)]


def test_of_two_processors_of_an_organization_the_older_group_goes_first() -> None:
    heads: list[Head] = [(1, 0, "a", "p"), (1, 0, "a", "q")]
    oldest = {heads[0]: (9, True), heads[1]: (4, False)}
    (portion,) = arrange(heads, oldest, Want(30, {"p": 30, "q": 30}))
    assert (portion.processor, portion.batch_no, portion.wanted) == ("q", 4, 30)


@pytest.mark.parametrize(("room", "wanted"), [(0, [("b", TURN)]), (3, [("a", 3)])])
def test_a_processor_without_room_is_passed_over(room: int, wanted: list[tuple[str, int]]) -> None:
    assert arranged([(1, 0, "a", "q"), (1, 0, "b", "p")], 100, q=room) == wanted
