"""The `python` processor: what functions get, and what their answers mean."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processor_kit import Work, file_ref, item
from python_shop import python_work

from batchctl import Retry, Unavailable
from batchctl.masking import Masker
from batchctl.model import Broken, Completed, Down, Failed, ItemError


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return python_work(tmp_path)


def test_calls_the_function_for_each_item(work: Work) -> None:
    with work("double") as at:
        outcomes = at.do(*(item(n, {"n": n}) for n in range(1, 301)))
        assert [o.result["twice"] for o in outcomes if isinstance(o, Completed)] == [2 * n for n in range(1, 301)]
        assert 1 <= len({o.result["pid"] for o in outcomes if isinstance(o, Completed)}) <= 2
        assert all(len(line.started_at) == 1 and line.started_at[0] for line in at.lines.values())


def test_items_know_their_facts(work: Work) -> None:
    with work("facts") as at:
        (outcome,) = at.do(item(7, {"n": 1}, attempt=3, key="é😀"))
    assert outcome == Completed(
        [7, "é😀", {"n": 1}, 3, "idem-7", "acme", "ada", "b000000000001", "nightly", 10, "idem-7", 5, True]
    )


def test_runs_in_the_configs_folder_and_its_own_session(work: Work, tmp_path: Path) -> None:
    with work("where") as at:
        (outcome,) = at.do(item(1))
    assert outcome == Completed([str(tmp_path), "w1", str(tmp_path), True])


def test_awaits_coroutines(work: Work) -> None:
    with work("later") as at:
        assert at.do(item(1), item(2)) == [Completed(True), Completed(True)]


@pytest.mark.parametrize(
    "value", [None, True, 1.5, "é\n\x00", [1, [2]], {"a": {"b": None}}, 10**30, "x" * 300_000], ids=lambda v: str(v)[:9]
)
def test_any_json_value_is_a_result_and_any_payload_arrives(work: Work, value: Any) -> None:
    with work("values") as at:
        assert at.do(item(1, {"value": value})) == [Completed(value)]
        assert list((at.runtime.folder).iterdir()) == []


def test_large_items_keep_their_order_and_all_come_through(work: Work) -> None:
    with work("values", width=1) as at:
        items = [item(n, {"value": f"{n}" * (60_000 if n % 7 else 100_000)}) for n in range(1, 120)]
        assert at.do(*items) == [Completed(i.payload["value"]) for i in items]
        assert list(at.ended) == [i.number for i in items]


@pytest.mark.parametrize("kind", ["set", "nan", "surrogate"])
def test_a_result_that_is_no_json_fails_for_good(work: Work, kind: str) -> None:
    with work("strange") as at:
        (outcome, after) = at.do(item(1, {"kind": kind}), item(2, {"kind": "deep"}))
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("ResultNotJson", True)
    assert after == Completed(None)


def test_a_result_over_the_limit_fails(work: Work) -> None:
    with work("values", longest=100) as at:
        (outcome,) = at.do(item(1, {"value": "x" * 99}))
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.permanent) == ("OutputTooLarge", True)


def test_exceptions_say_how_it_failed(work: Work) -> None:
    kinds = ["retry", "plain retry", "permanent", "down", "value", "exit", "interrupt"]
    with work("raises") as at:
        retry, plain, permanent, down, value, leave, interrupt = at.do(
            *(item(n, {"kind": kind}) for n, kind in enumerate(kinds, 1))
        )
    assert retry == Failed(ItemError("Retry", "busy"), retry_after=120.0)
    assert isinstance(plain, Failed)
    assert plain.retry_after is None
    assert permanent == Failed(ItemError("Permanent", "no such order", permanent=True))
    assert down == Down(ItemError("Unavailable", "ERP is closed"), "python:shop:raises", 5.0)
    assert isinstance(value, Failed)
    assert value.error == ItemError("ValueError", "bad total")
    assert "in raises" in value.log
    assert "python_child" not in value.log
    assert isinstance(leave, Failed)
    assert leave.error.type == "ProcessDied"
    assert "sys.exit(3)" in leave.error.message
    assert isinstance(interrupt, Failed)
    assert interrupt.error.type == "KeyboardInterrupt"


def test_what_it_prints_is_the_items_log(work: Work) -> None:
    with work("prints", width=1) as at:
        outcomes = at.do(item(1, {"n": 1}), item(2, {"n": 2}), item(3, {"n": 3}))
    for n, outcome in enumerate(outcomes, 1):
        lines = (at.lines[n].text + outcome.log).splitlines()  # some may come while it runs
        assert sorted(lines) == (sorted([f"to stdout {n}", "to fd 2", "from a child", "a line"]) if n % 2 else [])


def test_secrets_are_masked(work: Work) -> None:
    with work("raises", masker=Masker(["bad total", "half way"])) as at:
        (outcome,) = at.do(item(1, {"kind": "value"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "***"
    assert "ValueError: ***" in outcome.log
    with work("values", masker=Masker(["hunter22"])) as at:
        assert at.do(item(1, {"value": ["hunter22!"]})) == [Completed(["***!"])]


@pytest.mark.parametrize(
    ("module", "text", "kind", "message"),
    [
        ("nowhere", None, "ModuleNotFoundError", "No module named 'nowhere'"),
        ("broken", "import batchctl_no_such", "ModuleNotFoundError", "No module named 'batchctl_no_such'"),
        ("broken", "def other(): pass", "AttributeError", "has no attribute 'handle'"),
        ("broken", "handle = 3", "TypeError", "broken:handle is no function"),
        ("broken", "def handle(item): pass", "TypeError", "can't be called as handle(item, context)"),
        ("broken", "def handle(:", "SyntaxError", "invalid syntax"),
        ("broken", "raise SystemExit(2)", "SystemExit", "2"),
        ("broken", "import os; os.write(2, b'oh no'); os._exit(4)", "ProcessDied", "exit code 4"),
    ],
)
def test_a_module_that_cannot_be_loaded_breaks_the_processor(
    work: Work, tmp_path: Path, module: str, text: str | None, kind: str, message: str
) -> None:
    if text is not None:
        (tmp_path / "broken.py").write_text(text)
    with work("handle", module=module) as at:
        outcomes = at.do(*(item(n) for n in range(1, 6)))
        outcomes += at.do(item(6))
    for outcome in outcomes:
        assert isinstance(outcome, Broken)
        assert outcome.error.type == kind
        assert message in outcome.error.message
        assert ("oh no" in outcome.log) == (kind == "ProcessDied")


def test_pauses_may_be_written_as_people_do() -> None:
    assert [Retry(after=a).after for a in (None, 5, "1m30s", timedelta(hours=1))] == [None, 5.0, 90.0, 3600.0]
    assert Unavailable("closed", after="10s").after == 10.0
    with pytest.raises(ValueError, match="not a duration"):
        Retry(after="soon")


def test_a_dotted_function_is_found(work: Work) -> None:
    with work("Tools.nested") as at:
        assert at.do(item(1)) == [Completed("nested")]


def test_files_arrive_and_what_changed_is_noticed(work: Work, tmp_path: Path) -> None:
    names = [b"plain.txt", b"\xff'\"{}\n.txt", b"gone.txt", b"longer.txt", b"other.txt"]
    paths = [os.fsencode(tmp_path) + b"/" + name for name in names]
    for path in paths:
        Path(os.fsdecode(path)).write_text("content")
    items = [item(n, file=file_ref(path)) for n, path in enumerate(paths, 1)]
    Path(os.fsdecode(paths[2])).unlink()
    Path(os.fsdecode(paths[3])).write_text("content and more")
    Path(os.fsdecode(paths[4])).write_text("CONTENT")
    with work("reads") as at:
        plain, _, gone, longer, other = at.do(*items[:1], item(9), *items[2:])
        assert plain == Completed(["plain.txt", "content"])
        for outcome, kind in ((gone, "FileMissing"), (longer, "FileChanged"), (other, "FileChanged")):
            assert isinstance(outcome, Failed)
            assert (outcome.error.type, outcome.error.permanent) == (kind, True)
        (undecodable,) = at.do(items[1])  # its name can't stand in a result, but it was read
        assert isinstance(undecodable, Failed)
        assert undecodable.error.type == "ResultNotJson"
