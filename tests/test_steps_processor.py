"""The `steps` processor: one step after the other, what each one sees, and what others are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processor_kit import bench, eventually, item
from stepskit import chain, command, names, ran, with_author

from batchctl.guarding import serves_all
from batchctl.model import Completed, Down, StepPath


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_author(tmp_path)


def test_each_step_sees_what_those_before_have_found(folder: Path) -> None:
    (folder / "handlers.py").write_text("def last(item, context): return [item.steps, context.idempotency_key]")
    steps = [
        command("ocr"),
        command("sum", "do", "{{ steps.ocr.with }}", "{{ steps['ocr']['from'] }}"),
        {"name": "last", "python": "handlers:last"},
    ]
    with bench(chain(folder, *steps), folder) as at:
        (outcome,) = at.do(item())
    ocr = {"from": "ocr", "with": []}
    sum_ = {"from": "sum", "with": ["[]", "ocr"]}
    assert outcome == Completed([{"ocr": ocr, "sum": sum_}, "idem-1:last"])
    assert ran(folder) == [["ocr", 1, "idem-1:ocr", 1], ["sum", 1, "idem-1:sum", 1]]
    kept = at.lines[1].kept
    assert [(one.step, one.position, one.finished, one.path) for one in kept] == [
        ("ocr", 0, True, StepPath.STEP), ("sum", 1, True, StepPath.STEP), ("last", 2, True, StepPath.STEP)
    ]  # fmt: skip
    assert [json.loads(one.result or "") for one in kept[:2]] == [ocr, sum_]


def test_progress_is_a_share_of_the_whole_and_words_stand_under_their_step(folder: Path) -> None:
    script = "echo '::progress 50' >&2; echo hello >&2; while [ ! -e go ]; do sleep 0.01; done"
    with bench(chain(folder, {"name": "a", "command": ["sh", "-c", script]}, command("b")), folder) as at:
        at.start(item()).wait(lambda line: bool(line.percents))
        (folder / "go").touch()
        at.end(1)
    assert at.lines[1].percents == [25.0, 50.0, 100.0]
    assert at.lines[1].text == "== step a ==\nhello\n"


def test_no_more_than_the_width_at_once_in_all_steps_together(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "hold")), folder, width=2) as at:
        for number in range(1, 6):
            at.start(item(number))
        eventually(lambda: names(folder).count("b") == 2)
        assert sorted(at.processor.withdraw()) == [3, 4, 5]
        assert names(folder).count("a") == 2
        (folder / "go").touch()
        assert all(isinstance(at.end(number), Completed) for number in (1, 2))


def test_files_that_any_step_made_are_the_items(folder: Path) -> None:
    made = {"name": "a", "command": ["echo", "x"], "stdout_to": "out/{{ key }}.txt"}
    with bench(chain(folder, made, command("b")), folder) as at:
        (outcome,) = at.do(item())
    assert isinstance(outcome, Completed)
    assert outcome.artifacts == (str(folder / "out/k1.txt"),)


def test_a_large_result_goes_to_a_program_by_standard_input(folder: Path) -> None:
    make = {"name": "a", "command": ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"], "output": "text"}
    count = {"name": "b", "command": ["wc", "-c"], "stdin": "{{ steps.a.stdout }}"}
    as_json = {"name": "c", "command": ["cat"], "stdin": "{{ steps.b }}"}
    with bench(chain(folder, make, count, as_json), folder) as at:
        assert at.do(item()) == [Completed(300_000)]


# -- what others are told of receivers


def test_each_step_answers_for_itself(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b"), command("c")), folder) as at:
        (outcome,) = at.do(item())
    assert isinstance(outcome, Completed)
    assert (at.lines[1].answers, outcome.origin) == (["p.a", "p.b"], "p.c")


def test_a_program_whose_receiver_is_down_is_known_by_its_step(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "exit69")), folder) as at:
        (outcome,) = at.do(item())
    assert isinstance(outcome, Down)
    assert (outcome.origin, outcome.error.message[:7]) == ("p.b", "step b:")
    assert not serves_all(chain(folder, command("a"), command("b")), "p.b")
