"""What was started outlives the process that started it."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from batchctl.inflight import SLOTS, InFlight, Mark

DIES = """
import os, signal, sys
from pathlib import Path
from batchctl.inflight import InFlight
marks = InFlight(Path(sys.argv[1]), create=True)
slots = [marks.take() for _ in range(3)]
for number, slot in enumerate(slots, 1):
    marks.mark(slot, number, number * 10, number * 100)
marks.clear(slots[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.inflight"


def test_marks_outlive_a_kill(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    marks = InFlight(path)
    found = {(mark.item_id, mark.claim_no, mark.started_ms) for mark in marks.started()}
    marks.close()
    assert found == {(1, 10, 100), (3, 30, 300)}


def test_a_mark_is_seen_by_every_process_that_maps_the_file(path: Path) -> None:
    mine, theirs = InFlight(path, create=True), InFlight(path)
    slot = mine.take()
    mine.mark(slot, 7, 2, 1_000)
    assert theirs.started() == [Mark(7, 2, 1_000)]
    theirs.flag(slot, 5)
    assert mine.get(slot) == Mark(7, 2, 1_000, 5)
    mine.mark(slot, 8, 1, 2_000)
    assert theirs.get(slot) == Mark(8, 1, 2_000)
    mine.give(slot)
    assert theirs.started() == []
    mine.close()
    theirs.close()


def test_slots_are_given_back_and_run_out(path: Path) -> None:
    marks = InFlight(path, create=True)
    taken = [marks.take() for _ in range(SLOTS)]
    assert len(set(taken)) == SLOTS
    with pytest.raises(IndexError):
        marks.take()
    marks.give(taken[5])
    assert marks.take() == taken[5]
    marks.close()


def test_the_file_is_its_owners_alone(path: Path) -> None:
    InFlight(path, create=True).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_there_is_nothing_to_map_before_it_is_made(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        InFlight(path)


@pytest.mark.parametrize("number", [1, 2**32, 2**63 - 1])
def test_every_number_that_the_store_gives_fits(path: Path, number: int) -> None:
    marks = InFlight(path, create=True)
    marks.mark(0, number, number, number)
    assert marks.get(0) == Mark(number, number, number)
    marks.close()
