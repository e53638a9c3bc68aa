"""Messages that differ only in numbers, ids, paths or quoted words are one pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchctl.patterns import Failure, fold, grouped


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("order 4711: customer not found", "order <n>: customer not found"),
        ("timeout after 30.5 s", "timeout after <n> s"),
        ("total 1,234.50 is not 12", "total <n> is not <n>"),
        ("must be > 0, got -3", "must be > <n>, got <n>"),
        ("KeyError: 'total'", "KeyError: <text>"),
        ('no field "iban" in `row`', "no field <text> in <text>"),
        ("don't know what it's for", "don't know what it's for"),
        ("/var/lib/x/a.csv: no such file", "<path>: no such file"),
        ("cannot open ./in/b.pdf.", "cannot open <path>."),
        ("HTTP 503 from https://erp.example.com/a?b=1", "HTTP <n> from <url>"),
        (
            "cannot connect to http://127.0.0.1:9: refused (see https://x.org/a).",
            "cannot connect to <url>: refused (see <url>).",
        ),
        ("refused by 127.0.0.1:8080", "refused by <address>"),
        ("id 550e8400-e29b-41d4-a716-446655440000 is gone", "id <id> is gone"),
        ("commit deadbeef1234 is bad", "commit <id> is bad"),
        ("mail to ann@example.com bounced", "mail to <mail> bounced"),
        ("not before 2026-03-01T10:00:00Z", "not before <time>"),
        ("Traceback\n  line 2", "Traceback"),
        ("\n\n  first   words \nmore", "first words"),
        ("", ""),
    ],
)
def test_what_varies_is_folded(message: str, pattern: str) -> None:
    assert fold(message) == pattern


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_messages_with_other_numbers_are_one_pattern(one: int, other: int) -> None:
    assert fold(f"row {one} is bad") == fold(f"row {other} is bad")


@given(st.text())
def test_any_message_gives_one_line(message: str) -> None:
    assert len(fold(message).splitlines()) <= 1


def failure(number: int, message: str, kind: str = "Invalid") -> Failure:
    return Failure(number, f"k{number}", "b1", kind, message, permanent=True)


def test_groups_come_most_frequent_first_with_an_example() -> None:
    groups = grouped([failure(1, "x 1"), failure(2, "y 1"), failure(3, "y 2"), failure(4, "y 3", "Other")])
    assert [(g.type, g.pattern, g.count) for g in groups] == [
        ("Invalid", "y <n>", 2),
        ("Invalid", "x <n>", 1),
        ("Other", "y <n>", 1),
    ]
    assert groups[0].example.item == 2
    assert groups[0].keys == ["k2", "k3"]


def test_a_group_keeps_only_some_keys() -> None:
    (group,) = grouped((failure(n, f"x {n}") for n in range(50)), keys=3)
    assert (group.count, group.keys) == (50, ["k0", "k1", "k2"])
