"""Durations, sizes, rates and times as people write them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchctl import duration

NOON = int(datetime(2026, 7, 15, 12, 0, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def berlin() -> Iterator[None]:
    """The local zone is two hours ahead of UTC in July, one in January."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("15m", 900), ("1h30m", 5400), ("1h 30m", 5400), ("500ms", 0.5), ("90d", 7_776_000),
        ("2w", 1_209_600), ("1.5h", 5400), ("45", 45), (45, 45), (0.25, 0.25), ("10 min", 600), ("0s", 0),
    ],
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    assert duration.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "30x", "1h30", "-5s", "5s!", "1e400h", True, -3, "1 000s"])
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match="is not a"):
        duration.duration(text)


@given(st.text(max_size=20))
def test_a_duration_parses_or_says_why(text: str) -> None:
    seconds, reason = 0.0, "is not a"
    try:
        seconds = duration.duration(text)
    except ValueError as error:
        reason = str(error)
    assert seconds >= 0
    assert "is not a" in reason


@pytest.mark.parametrize(
    ("text", "count"),
    [("50MB", 50_000_000), ("10MiB", 10_485_760), ("512k", 512_000), (123, 123), ("1.5 GB", 1_500_000_000), ("7b", 7)],
)
def test_sizes(text: str | int, count: int) -> None:
    assert duration.size(text) == count


@pytest.mark.parametrize("text", ["", "MB", "50XB", "-1", -1, "1MB2"])
def test_what_is_no_size(text: str | int) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        duration.size(text)


def test_shares_and_rates() -> None:
    assert duration.percent("80%") == pytest.approx(0.8)
    assert duration.rate("1/s") == (1, 1.0)
    assert duration.rate("3/h") == (3, 3600.0)
    assert duration.rate("100/15m") == (100, 900.0)
    for wrong in ("80", "101%", "%"):
        with pytest.raises(ValueError, match="is not a percentage"):
            duration.percent(wrong)
    for wrong in ("0/s", "1/", "1/0s", "a/s", "1/fortnight"):
        with pytest.raises(ValueError, match="is not a rate"):
            duration.rate(wrong)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("+2h", "2026-07-15T14:00"),
        ("2026-07-16", "2026-07-15T22:00"),
        ("2026-07-16T02:00", "2026-07-16T00:00"),
        ("2026-01-16 02:00", "2026-01-16T01:00"),
        ("2026-07-16T02:00Z", "2026-07-16T02:00"),
        ("2026-07-16T02:00+05:30", "2026-07-15T20:30"),
        ("15:30", "2026-07-15T13:30"),
        ("2:00", "2026-07-16T00:00"),
        ("14:00", "2026-07-16T12:00"),  # it is 14:00 just now: the next one is tomorrow
    ],
)
@pytest.mark.usefixtures("berlin")
def test_times_that_come(text: str, meant: str) -> None:
    assert duration.moment(text, now=NOON) == utc(meant)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("24h", "2026-07-14T12:00"),
        ("-90m", "2026-07-15T10:30"),
        ("15:30", "2026-07-14T13:30"),
        ("02:00", "2026-07-15T00:00"),
        ("2026-07-01", "2026-06-30T22:00"),
        ("20260701", "2026-06-30T22:00"),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_times_behind_us(text: str, meant: str) -> None:
    assert duration.moment(text, now=NOON, past=True) == utc(meant)


@pytest.mark.parametrize("text", ["", "tomorrow", "25:00", "2026-13-01", "+", "+2x", "24h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 2026-03-01T02:00, 02:00 or \+2h"):
        duration.moment(text, now=NOON)


def test_iso() -> None:
    assert duration.iso(utc("2026-03-01T02:00:00")) == "2026-03-01T02:00:00Z"
    assert duration.iso(utc("2026-03-01T02:00:00") + 45) == "2026-03-01T02:00:00.045Z"
