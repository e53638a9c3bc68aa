"""What steps leave behind: stored under a claim, brought along by the next one, forgotten when asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from batchctl.config import CheckConfig, Config
from batchctl.model import Item, ItemError, ItemState, Kept, StepPath
from batchctl.retention import clean
from batchctl.store import Store
from batchctl.transitions import steps
from batchctl.transitions.recovering import release_worker
from batchctl.views import Views
from store import kit
from store.kit import Clock, Worker, load

Peek = Callable[..., list[tuple[Any, ...]]]

OCR = Kept(
    "ocr", 0, "m1", StepPath.STEP, True, 0, 7, '{"text": "\\u0000 ok"}', usage='{"tokens": 3}', artifacts=("/x",)
)
SUM = Kept("sum", 1, "m2", StepPath.FALLBACK, True, 2, 8, "1", ItemError("Timeout", "too slow"))
STUCK = Kept("end", 2, "m3", StepPath.FALLBACK, False, 2, 9, error=ItemError("ExitCode", "exit code 1"))


def keep(store: Store, worker: str, *found: steps.Found) -> set[int]:
    with store.engine.write(shared=True) as tx:
        return steps.keep(tx, worker, found)


def brought(store: Store, *items: Item, chain: str = "p") -> list[Item]:
    with store.engine.read() as tx:
        return steps.brought(tx, list(items), {chain})


def test_what_is_kept_comes_along_with_the_next_claim(store: Store, worker: Worker, clock: Clock) -> None:
    load(store, 2)
    one, two = worker.claim(2)
    assert keep(store, "w1", (one.number, one.claim_no, SUM), (one.number, one.claim_no, OCR)) == {one.number}
    worker.put_off(one, until=clock() + 10)
    worker.give_back(two)
    clock.advance(20)
    first, second = brought(store, *sorted(worker.claim(2), key=lambda item: item.number))
    assert (first.kept, second.kept) == ((OCR, SUM), ())
    assert first.steps == {"ocr": {"text": "\0 ok"}, "sum": 1}
    assert brought(store, first, chain="other") == [first]


def test_a_step_is_kept_once_the_last_word_stands(store: Store, worker: Worker) -> None:
    load(store)
    (one,) = worker.claim()
    keep(store, "w1", (one.number, one.claim_no, STUCK))
    done = replace(STUCK, finished=True, result='"done"')
    keep(store, "w1", (one.number, one.claim_no, done))
    assert brought(store, one)[0].kept == (done,)


def test_a_late_answer_keeps_nothing(store: Store, worker: Worker) -> None:
    """The item has been given to somebody else meanwhile, or is in another claim of the same worker."""
    load(store, 2)
    one, two = worker.claim(2)
    worker.give_back(one, two)
    (stolen,) = Worker(store, "w2", kit.scope("p")).claim(1)
    (anew,) = worker.claim(1)
    assert keep(store, "w1", (stolen.number, stolen.claim_no, OCR), (anew.number, anew.claim_no - 1, OCR)) == set()
    assert [item.kept for item in brought(store, stolen, anew)] == [(), ()]


def test_the_last_step_is_kept_with_the_items_end(store: Store, worker: Worker, clock: Clock, peek: Peek) -> None:
    load(store, 3)
    one, two, lost = worker.claim(3)
    worker.give_back(lost)
    completed = replace(kit.completed(one, clock(), "done"), kept=SUM)
    failed = replace(kit.failed(two, clock()), kept=OCR)  # what it was to fill was refused
    late = replace(kit.completed(lost, clock(), "late"), kept=OCR)
    assert len(worker.record(completed, failed, late)) == 2
    assert peek("SELECT item_id, step FROM item_steps ORDER BY item_id") == [(one.number, "sum"), (two.number, "ocr")]


def _failed_with_steps(store: Store, worker: Worker) -> tuple[int, Item]:
    (no,) = load(store)
    (one,) = worker.claim()
    for kept in (OCR, SUM, STUCK):
        keep(store, "w1", (one.number, one.claim_no, kept))
    worker.fail(one)
    return no, one


def test_a_retry_resumes_at_the_failed_step_with_fresh_tries(store: Store, worker: Worker) -> None:
    """And there by its own way first: what had given up may be mended."""
    no, _ = _failed_with_steps(store, worker)
    assert store.retry(no, None) == 1
    (again,) = brought(store, *worker.claim())
    assert again.kept == (OCR, replace(SUM, attempts_before=0))
    assert again.attempt == 1


@pytest.mark.parametrize("how", ["from_start", "payloads", "files"])
def test_a_retry_that_begins_anew_forgets_the_steps(store: Store, worker: Worker, how: str) -> None:
    no, one = _failed_with_steps(store, worker)
    facts = json.dumps({"path": "/x", "name": "x", "size": 1, "sha256": "0", "media_type": "text/plain"})
    given = {"from_start": True, "payloads": {one.key: '{"id": "corrected"}'}, "files": {one.number: facts}}
    assert store.retry(no, None, **{how: given[how]}) == 1  # type: ignore[arg-type]
    (again,) = brought(store, *worker.claim())
    assert again.kept == ()


def test_steps_go_with_their_batch(store: Store, worker: Worker, clock: Clock, peek: Peek, tmp_path: Path) -> None:
    _failed_with_steps(store, worker)
    assert peek("SELECT count(*) FROM item_steps") == [(3,)]
    clock.advance(1_000)
    clean(store, Config(folder=tmp_path, store="", check=CheckConfig(retention={"failed": 0.5})))
    assert peek("SELECT count(*) FROM item_steps") == [(0,)]


def test_what_a_dead_worker_has_kept_is_not_lost(store: Store, worker: Worker) -> None:
    load(store)
    (one,) = worker.claim()
    keep(store, "w1", (one.number, one.claim_no, OCR))
    release_worker(store.engine, "w1", frozenset({(one.number, one.claim_no)}), 3)
    other = Worker(store, "w2", kit.scope("p"))
    suspect = other.claim_suspect()
    assert suspect is not None
    assert brought(store, suspect)[0].kept == (OCR,)


def test_views_tell_of_steps(store: Store, worker: Worker) -> None:
    _, one = _failed_with_steps(store, worker)
    views = Views(store.engine)
    found = views.item(one.number)["steps"]
    assert [(step["name"], step["path"], step["result"], step["completed_at"] is None) for step in found] == [
        ("ocr", "step", {"text": "\0 ok"}, False),
        ("sum", "fallback", 1, False),
        ("end", "fallback", None, True),
    ]
    assert found[2]["error"] == {"type": "ExitCode", "message": "exit code 1", "permanent": False}
    assert views.item(one.number)["state"] == ItemState.FAILED
