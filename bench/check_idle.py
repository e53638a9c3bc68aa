"""What cron pays every minute: a `check` where nothing is due, whatever has piled up in the store."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import filled
from bench.harness import Line, Progress, Report, Verdict, in_fresh_folder
from bench.program import NOOP, Program

COUNT = 1_000_000
ROUNDS = 21
TIMES_PYTHON = 4.0
TIMES_EMPTY = 1.25

BARE = "python -c pass"
EMPTY = "check, empty store"


def run(count: int | None, rounds: int | None, base: Path, say: Progress) -> Report:
    return in_fresh_folder(base, lambda folder: _compare(folder, count or COUNT, rounds or ROUNDS, say))  # type: ignore[no-any-return]


def _compare(folder: Path, count: int, rounds: int, say: Progress) -> Report:
    full = f"check, {count:,} finished"
    say(f"idle: filling a store with {count:,} finished items")
    contenders: dict[str, Callable[[], float]] = {
        BARE: _bare,
        EMPTY: _check(folder / "empty", 0),
        full: _check(folder / "full", count),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    say("idle: measuring")
    for number in range(rounds + 2):
        for name, once in contenders.items():
            took = once()
            if number >= 2:  # the first ones warm the caches
                seconds[name].append(took)
    lines = [
        Line(name, taken, 1 / median(taken), None, {"ms": median(taken) * 1000}) for name, taken in seconds.items()
    ]
    verdicts = [
        _verdict(seconds, full, BARE, TIMES_PYTHON),
        _verdict(seconds, EMPTY, BARE, TIMES_PYTHON),
        _verdict(seconds, full, EMPTY, TIMES_EMPTY),
    ]
    return Report("idle", "A check where nothing is due, whole command", "checks", lines, verdicts, [])


def _verdict(seconds: dict[str, list[float]], subject: str, against: str, at_most: float) -> Verdict:
    ratio = median(own / other for own, other in zip(seconds[subject], seconds[against], strict=True))
    return Verdict(f"time of {subject} / {against}", ratio, f"<= {at_most:g}", ratio <= at_most)


def _bare() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def _done(connection: sqlite3.Connection, count: int) -> None:
    filled.queued(connection, count)
    filled.ended(connection)


def _check(folder: Path, count: int) -> Callable[[], float]:
    """A store with so many finished items, and one full check behind it."""
    folder.mkdir()
    program = Program(folder)
    program.configure(NOOP)
    with (folder / "batchctl.yaml").open("a", encoding="utf-8") as config:
        config.write("worker: {min_free: 0}\n")
    if count:
        filled.make(folder / "queue.db", lambda connection: _done(connection, count))
    else:
        program.run("run", "--forever", "--max-time", "0s")
    program.run("check")
    return lambda: program.run("check").seconds
