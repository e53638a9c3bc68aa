"""watch: until the batches end, with the exit code of run; plain lines where there is no terminal."""

from __future__ import annotations

import threading

import pytest
from queuekit import Program

from batchctl.model import Item


def finish_later(program: Program, items: list[Item], *, fail: int = 0) -> threading.Timer:
    """Another process at work: the items end while `watch` looks on, the last `fail` of them in failure."""

    def work() -> None:
        for item in items[: len(items) - fail]:
            program.queue.complete(item)
        for item in items[len(items) - fail :]:
            program.queue.fail(item)

    timer = threading.Timer(0.2, work)
    timer.start()
    return timer


@pytest.mark.parametrize(("fail", "code"), [(0, 0), (1, 1)])
@pytest.mark.parametrize("name", ["june", None])
def test_it_ends_with_the_batches(program: Program, name: str | None, fail: int, code: int) -> None:
    program.queue.add(3, name="june")
    work = finish_later(program, program.queue.claim(3), fail=fail)
    answer = program("watch", *([name] if name else []), code=code)
    work.join()
    assert answer.out == ""
    last = answer.err.splitlines()[-1]
    assert last.startswith("june (b")
    assert last.endswith("2 completed, 1 failed" if fail else "3 completed")
    assert "\r" not in answer.err
    assert "\x1b" not in answer.err


def test_its_answer_in_json(program: Program) -> None:
    program.queue.add(2, name="june")
    work = finish_later(program, program.queue.claim(2))
    answer = program("watch", "june", "--json", "-q")
    work.join()
    assert answer.err == ""
    document = answer.json
    assert (document["completed"], document["failed"], document["unfinished_items"]) == (2, 0, 0)
    assert document["batches"][0]["status"] == "completed"


def test_what_had_ended_before_is_told_as_well(program: Program) -> None:
    program.queue.add(1, name="june")
    (item,) = program.queue.claim()
    program.queue.fail(item)
    answer = program("watch", "june", code=1)
    assert "1 failed" in answer.err
    assert program("watch").err == ""


@pytest.mark.parametrize("command", [["pause", "june"], ["pause", "--all"], ["set", "june", "--not-before", "+1h"]])
def test_it_does_not_wait_for_people(program: Program, command: list[str]) -> None:
    program.queue.add(2, name="june")
    program(*command)
    answer = program("watch", "june", code=3)
    assert "2 items left" in answer.err


def pace(program: Program, interval: int | None) -> None:
    wanted = {"processor": "p", "lane_limit": 1, "lane_interval_ms": None, "lane_hold": 0}
    with program.queue.store.engine.write() as tx:
        tx.run("adopt_pace", wanted | {"interval_ms": interval})
        tx.run("reserve_processor", {"processor": "p", "tat": program.queue.store.engine.now() + 60_000})


def test_what_waits_for_a_rate_goes_on_by_itself(program: Program) -> None:
    program.queue.add(1, name="june")
    pace(program, 60_000)
    assert program("show", "june", "--json").json["items"][0]["waiting_for"] == "rate"

    def work() -> None:
        pace(program, None)
        program.queue.complete(*program.queue.claim(1))

    timer = threading.Timer(0.2, work)
    timer.start()
    answer = program("watch", "june", "--json")
    timer.join()
    assert answer.json["completed"] == 1


def test_a_paused_batch_is_watched_while_some_of_it_runs(program: Program) -> None:
    (no,) = program.queue.add(2, name="june")
    items = program.queue.claim(1)
    program.queue.store.pause([no], None, "ann")
    work = finish_later(program, items)
    answer = program("watch", "june", "--json", code=3)
    work.join()
    assert (answer.json["completed"], answer.json["unfinished_items"]) == (1, 1)


def test_progress_of_single_items_is_seen(program: Program) -> None:
    program.queue.add(1, name="june")
    items = program.queue.claim(1)
    with program.queue.store.engine.write() as tx:
        tx.run("set_progress", (45.0, items[0].number, program.queue.worker, items[0].claim_no))
    assert program("show", "june", "--json").json["items"][0]["progress"] == 45.0
    assert "45%" in program("show", "june").out
    (no,) = program.queue.views().unfinished()
    assert program.queue.views().running(no, 4) == [("k1", 45.0)]


def test_a_batch_that_is_not_there_is_4(program: Program) -> None:
    program("watch", "june", code=4)
