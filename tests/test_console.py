"""The screen: hostile text, narrow terminals, pipes, progress."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from typing import Any

import pytest
from conftest import Cli
from hypothesis import given
from hypothesis import strategies as st
from queuekit import Queue

from batchctl.console import Column, percent, remaining, safe, shorten, span, wrapped
from batchctl.console.pace import Pace
from batchctl.console.progress import Glimpse, Lines
from batchctl.console.tables import layout

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain søn ü 漢", "plain søn ü 漢"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x9b1m", "\\x9b1m"),
        ("caf\udce9.txt", "caf\\xe9.txt"),
        ("\ud800", "\\ud800"),
        ("exe\u202ecod.", "exe\\u202ecod."),
    ],
)
def test_hostile_text_is_escaped(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(st.text())
def test_safe_text_can_always_be_printed(text: str) -> None:
    shown = safe(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (812, "812 ms"),
        (4_200, "4.2 s"),
        (42_000, "42 s"),
        (190_000, "3 min 10 s"),
        (7_500_000, "2 h 5 min"),
        (7_200_000, "2 h"),
        (273_600_000, "3 d 4 h"),
    ],
)
def test_durations(ms: int | None, text: str) -> None:
    assert span(ms) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "< 1 s"), (4.4, "4 s"), (9.7, "10 s"), (75, "1 min 15 s")])
def test_times_left(seconds: float, text: str) -> None:
    assert remaining(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(100.0, "100%"), (99.99, "99.9%"), (0.0, "0%"), (33.3, "33.3%")])
def test_nothing_is_done_before_it_is(value: float, text: str) -> None:
    assert percent(value) == text


@given(st.text(), st.integers(min_value=3, max_value=40))
def test_shortened_text_fits(text: str, width: int) -> None:
    assert len(shorten(text, width)) <= width


def test_text_is_wrapped_between_words() -> None:
    assert wrapped("error: one two three\nshort", 14) == "error: one two\n  three\nshort"
    assert wrapped("/a/very/long/path/that/is/kept/whole", 10) == "/a/very/long/path/that/is/kept/whole"
    assert wrapped("one two", None) == "one two"


COLUMNS = [Column("batch"), Column("name", gives=True, rank=1), Column("created", rank=2)]


def test_columns_give_way_by_rank_then_shrink() -> None:
    cells = [["b123456789abc", "a name of thirty characters ..", "2026-03-01"]]
    assert layout(COLUMNS, cells, None) == ([0, 1, 2], [13, 30, 10])
    assert layout(COLUMNS, cells, 80) == ([0, 1, 2], [13, 30, 10])
    assert layout(COLUMNS, cells, 50) == ([0, 1, 2], [13, 23, 10])
    assert layout(COLUMNS, cells, 30) == ([0, 1], [13, 15])
    assert layout(COLUMNS, cells, 20) == ([0], [13])


@given(st.lists(st.tuples(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50))), st.integers(40, 120))
def test_a_table_fits_the_screen_where_its_columns_may_give(rows: list[tuple[str, ...]], screen: int) -> None:
    columns = [Column("a", gives=True), Column("b", gives=True, rank=1), Column("c", gives=True, rank=2)]
    shown, wide = layout(columns, [[safe(cell) for cell in row] for row in rows], screen)
    assert sum(wide) + 2 * (len(shown) - 1) <= screen


def batch(done: int, **more: Any) -> Mapping[str, Any]:
    base = {"id": "b1", "name": "june", "total_items": 100, "processed_items": done, "failed_items": 0}
    base |= {"progress_percent": float(done), "eta_seconds": None, "paused": False, "completed_at": None}
    return base | {"status": "processing", "completed_items": done, "cancelled_items": 0} | more


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace(window=10.0)
    for second in range(21):
        done = second if second <= 10 else 10 + (second - 10) * 4
        pace.note(batch(done), float(second))
    assert pace.rate(batch(50)) == pytest.approx(4.0)
    assert pace.left(batch(50)) == pytest.approx(12.5)


def test_the_pace_starts_anew_when_items_went_back() -> None:
    pace = Pace(window=10.0)
    pace.note(batch(50), 0.0)
    pace.note(batch(20), 1.0)
    assert pace.rate(batch(20)) is None
    pace.note(batch(22), 2.0)
    assert pace.rate(batch(22)) == pytest.approx(2.0)


def test_progress_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.show(Glimpse([batch(0)]), 100.0)
    assert capsys.readouterr().err == ""
    lines.show(Glimpse([batch(20, failed_items=1)]), 105.0)
    assert capsys.readouterr().err == "june (b1): 20/100 (20.0%), 1 failed, 4.0/s, 20 s left\n"
    done = batch(100, failed_items=5, completed_items=95, completed_at="x", status="completed_with_errors")
    lines.show(Glimpse([done]), 110.0)
    lines.end(Glimpse([done]), 111.0)
    assert capsys.readouterr().err == "june (b1): completed_with_errors, 95 completed, 5 failed\n"


def test_items_that_tell_how_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for now in (0.0, 5.0):
        lines.show(Glimpse([batch(0)], running={"b1": [("scan.pdf", 45.0), ("b.pdf", 7.0)]}), now)
    assert capsys.readouterr().err == "june (b1): 0/100 (0%), scan.pdf 45%, b.pdf 7%\n"


def test_many_batches_are_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for now in (0.0, 5.0):
        lines.show(Glimpse([batch(10, id=f"b{n}", name=None) for n in range(6)], more=14), now)
    assert capsys.readouterr().err == "6 batches: 60/600 and 14 more batches\n"


@pytest.fixture
def full(cli: Cli) -> Cli:
    """Two batches with names that are long or hostile."""
    queue = Queue(cli.folder / "queue.db")
    queue.add([{"id": "k" * 90}, {"id": "漢字" * 30}, {"id": "\x1b[2J\u202e"}], name="a name " * 20, org="acme" * 5)
    for item in queue.claim(2):
        queue.fail(item, "customer 'x' is unknown\n\x1b[31m" + "very " * 50)
    queue.add(3, name="ü\x1b[1m", user="somebody with a long name")
    queue.close()
    return cli


def on_terminal(cli: Cli, columns: int, *args: str, answer: bytes = b"", code: int = 0, **env: str) -> str:
    """What the program writes to a terminal of so many columns (both streams); `answer` is what a person types."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    call = [sys.executable, "-m", "batchctl", *args, "--store", "queue.db"]
    environment = cli.environment(TERM="xterm-256color", **env)
    process = subprocess.Popen(call, cwd=cli.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait(30) == code, written
    return written.decode()


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(
    "command", ["list", "show latest", "show latest --org acmeacmeacmeacmeacme", "errors", "find k1", "workers"]
)
def test_tables_fit_the_terminal(full: Cli, columns: int, command: str) -> None:
    from rich.cells import cell_len

    text = on_terminal(full, columns, *command.split())
    lines = _ESCAPES.sub("", text).splitlines()
    assert max(cell_len(line) for line in lines) <= columns, text


def test_colour_is_for_terminals(full: Cli) -> None:
    assert "\x1b[" in on_terminal(full, 80, "list")
    assert "\x1b" not in on_terminal(full, 80, "list", NO_COLOR="1")
    assert "\x1b" not in on_terminal(full, 80, "list", "--no-color")
    assert "\x1b" not in full.ok("list", "--store", "queue.db", TERM="xterm")


def test_json_on_a_terminal_is_json_and_harms_nobody(full: Cli) -> None:
    for text in (on_terminal(full, 80, "show", "1", "--json"), on_terminal(full, 80, "show", "3", "--json")):
        assert json.loads(text)["item"]["id"] in (1, 3)
        assert not set(text) & set("\x1b\u202e")


@pytest.mark.parametrize("form", ["csv", "jsonl", "markdown", "junit"])
def test_results_on_a_terminal_harm_nobody(full: Cli, form: str) -> None:
    for batch in ("latest", "a name " * 20):
        text = on_terminal(full, 80, "results", batch, "--format", form, "--status", "all")
        assert "k" in text
        assert not set(text) & set("\x1b\u202e")


@pytest.mark.parametrize("columns", [60, 80])
def test_bars_on_a_terminal(full: Cli, columns: int) -> None:
    full.ok("cancel", "latest", "--store", "queue.db")
    text = on_terminal(full, columns, "watch", "latest")
    assert "3/3" in text
    assert "━" in text
    assert "cancelled" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back
    assert max(len(line) for line in _ESCAPES.sub("", text).replace("\r", "\n").splitlines()) <= columns
    assert "━" not in on_terminal(full, columns, "watch", "latest", "-q")


def test_a_question_is_only_asked_at_a_terminal(full: Cli) -> None:
    assert "Cancel 3 items?" in on_terminal(full, 80, "cancel", "latest", answer=b"n\n", code=2)
    assert full.json("show", "latest", "--store", "queue.db")["batch"]["status"] == "pending"
    assert "cancelled 3 items" in on_terminal(full, 80, "cancel", "latest", answer=b"y\n")
    assert "Cancel" not in on_terminal(full, 80, "cancel", "latest", "-y")
    assert full.json("cancel", "latest", "--store", "queue.db", "--org", "acme" * 5)["cancelled_items"] == 1
