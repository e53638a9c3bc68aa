"""Clocks that jump and machines that sleep, while workers run and items wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from queuekit import Program, program_in

from batchctl.config import Config, load
from batchctl.running import Ended
from batchctl.worker import Worker
from batchctl.workplan import Ending, Plan, scope_of

HOUR = 3_600_000_000_000  # ns
CONFIG = """
worker: {min_free: 0, lease: 2s}
processors:
  p:
    command: [sh, -c, "test -e {{ id }} || { touch {{ id }}; exit 75; }"]
    backoff: {base: 100ms, factor: 1, max: 1s, jitter: 0}
"""
Jump = Callable[[int], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    """On a store whose clock is this process's."""
    with program_in(tmp_path, monkeypatch, capsys) as program:
        (tmp_path / "batchctl.yaml").write_text(CONFIG)
        (tmp_path / "batchctl.yaml").chmod(0o600)
        yield program


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Set the wall clock of this process by so many nanoseconds."""
    real, shift = time.time_ns, 0

    def moved(by: int) -> None:
        nonlocal shift
        shift += by

    monkeypatch.setattr(time, "time_ns", lambda: real() + shift)
    monkeypatch.setattr(time, "time", lambda: (real() + shift) / 1e9)
    return moved


def config(folder: Path) -> Config:
    return load(None, {"HOME": str(folder)}, folder)


@pytest.mark.parametrize("by", [-HOUR, HOUR], ids=["back", "forward"])
def test_a_clock_that_jumps_while_a_worker_runs(program: Program, tmp_path: Path, jump: Jump, by: int) -> None:
    """Heartbeats, retries and the budget go by other clocks, or are put right: the run ends as if nothing had been."""
    program.queue.add(4, name="june")
    seen: list[Ended] = []

    def on_ended(ended: Ended) -> None:
        seen.append(ended)
        if len(seen) == 2:
            jump(by)

    settings = config(tmp_path)
    plan = Plan(scope_of(settings), concurrency=1, max_time=60.0, on_ended=on_ended)
    worker = Worker(program.queue.store, settings, plan)
    assert worker.run() is Ending.DRAINED
    assert (worker.tally.completed, worker.tally.retried, worker.tally.recovered) == (4, 4, 0)
    assert program("show", "june", "--json").json["batch"]["status"] == "completed"


def test_a_check_puts_right_what_a_clock_set_back_has_delayed(program: Program, tmp_path: Path, jump: Jump) -> None:
    program.queue.add(3)
    for item in program.queue.claim(3):
        program.queue.retry_later(item, at=program.queue.store.engine.now() + HOUR // 2_000_000)
        (tmp_path / item.key).touch()
    jump(-HOUR)
    assert program("check", "--json").json["drained"]["completed"] == 0  # they wait for half an hour, as before
    jump(HOUR * 11 // 20)
    assert program("check", "--json").json["drained"]["completed"] == 3


def test_retries_that_wait_for_long_keep_waiting(program: Program, jump: Jump) -> None:
    """A receiver asked for two hours; the clock goes back by one: still two hours, from now."""
    program.queue.add(1)
    (item,) = program.queue.claim()
    engine = program.queue.store.engine
    program.queue.retry_later(item, at=engine.now() + 2 * HOUR // 1_000_000)
    jump(-HOUR)
    program("check")
    with engine.read() as tx:
        assert 1.9 < (tx.value("next_retry") - engine.now()) * 1_000_000 / HOUR < 2.1


def test_alerts_do_not_last_because_a_clock_went_back(program: Program, tmp_path: Path, jump: Jump) -> None:
    (tmp_path / "batchctl.yaml").write_text(CONFIG.replace("  p:", "  q:") + "check: {alerts: {no_worker: 15m}}\n")
    program.queue.add(1)
    program("check")
    jump(-HOUR)
    program("check")
    jump(HOUR // 3)
    (alert,) = program("check", "--json").json["alerts"]
    assert alert["name"] == "no_worker"
    jump(-2 * HOUR)
    program("cancel", "latest", "-y")
    assert program("check", "--json").json["alerts"] == []
