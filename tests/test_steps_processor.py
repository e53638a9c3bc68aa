"""The `steps` processor: which step comes next, what is kept, and what an interruption leaves behind."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from e2e.kit import serving
from processor_kit import Bench, Line, bench, eventually, failed, item

from batchctl.config import build
from batchctl.config.structs import StepsSpec
from batchctl.guarding import serves_all
from batchctl.model import Cancelled, Completed, Down, Failed, HandedBack, Item, Kept, StepPath, StepTry
from batchctl.processors.steps_plan import what_next

Step = dict[str, Any]
AUTHOR = """
import json, os, sys, pathlib, time
name, what, number = sys.argv[1:4]
with open("ran", "a") as ran:
    ran.write(json.dumps([name, int(number), os.environ["BATCHCTL_ITEM_IDEMPOTENCY_KEY"],
                          int(os.environ["BATCHCTL_ITEM_ATTEMPT"])]) + "\\n")
if what == "hold":
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
if what.startswith("exit"):
    print(f"{name} is not ready", file=sys.stderr)
    sys.exit(int(what[4:]))
print(json.dumps({"from": name, "with": sys.argv[4:]}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "author.py").write_text(AUTHOR)
    return tmp_path


def command(name: str, what: str = "do", *words: str, **more: Any) -> Step:
    argv = [sys.executable, "-I", "-S", "author.py", name, what, "{{ item.number }}", *words]
    return {"name": name, "command": argv, "max_retries": 0, **more}


def other(name: str, what: str = "do", **more: Any) -> Step:
    """What stands behind `fallback`."""
    return {key: value for key, value in command(name, what, **more).items() if key != "name"}


def chain(folder: Path, *steps: Step, **more: Any) -> Any:
    return build.processor("p", {"steps": list(steps), **more}, {}, folder)


def ran(folder: Path) -> list[list[Any]]:
    """[step, item, idempotency key, attempt] for each start of a command."""
    path = folder / "ran"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def names(folder: Path) -> list[str]:
    return [start[0] for start in ran(folder)]


def held(at: Bench, folder: Path) -> Line:
    """Item 1, whose step `a` has ended and which waits for that to be kept. The step is a `hold`."""
    line = at.start(item())
    with line.changed:
        line.go_on = None
    (folder / "go").touch()
    line.wait(lambda line: line.held is not None)
    return line


def again(one: Item, bench: Bench, **facts: Any) -> Item:
    """The item in its next claim, with what was kept in this one."""
    import msgspec

    kept = {found.step: found for found in (*one.kept, *bench.lines[one.number].kept)}
    return msgspec.structs.replace(one, kept=tuple(kept.values()), claim_no=one.claim_no + 1, **facts)


# -- in order


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
    say = {"name": "a", "command": ["sh", "-c", "echo '::progress 50' >&2; echo hello >&2; sleep 0.3"]}
    with bench(chain(folder, say, command("b")), folder) as at:
        at.do(item())
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


# -- failures


def test_a_retry_goes_on_at_the_step_that_failed(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "exit75", max_retries=2)), folder) as at:
        outcome = failed(at.do(item())[0])
        assert (outcome.error.type, outcome.error.permanent) == ("ExitCode", False)
        assert outcome.error.message.startswith("step b: exit code 75: b is not ready")
        assert at.lines[1].tries[-1] == StepTry("b", StepPath.STEP, 1)
        second = again(item(), at, number=2, attempt=2)
        at.do(second)
        assert at.lines[2].tries == [StepTry("b", StepPath.STEP, 2)]
    assert names(folder) == ["a", "b", "b"]


def test_tries_are_counted_for_each_step(folder: Path) -> None:
    """The first step took three tries; the second begins at its first."""
    with bench(chain(folder, command("a"), command("b", "exit75", max_retries=2)), folder) as at:
        at.do(item(attempt=3))
        assert at.lines[1].tries == [StepTry("a", StepPath.STEP, 3), StepTry("b", StepPath.STEP, 1)]
        at.do(again(item(attempt=3), at, number=2, attempt=4))
        assert at.lines[2].tries == [StepTry("b", StepPath.STEP, 2)]


def test_a_fallback_is_tried_when_the_step_is_out_of_retries(folder: Path) -> None:
    first = command("a", "exit75", max_retries=1, fallback=other("plan-b"))
    with bench(chain(folder, first, command("b")), folder) as at:
        assert failed(at.do(item())[0]).error.message.startswith("step a: exit code 75")
        assert at.lines[1].kept == []
        assert isinstance(at.do(again(item(), at, number=2, attempt=2))[0], Completed)
    assert names(folder) == ["a", "a", "plan-b", "b"]
    assert ran(folder)[2][2:] == ["idem-1:a:fallback", 1]
    given_up, done, _ = at.lines[2].kept
    assert (given_up.finished, given_up.path, given_up.error and given_up.error.type) == (
        False, StepPath.FALLBACK, "ExitCode"
    )  # fmt: skip
    assert (done.finished, done.path, done.error) == (True, StepPath.FALLBACK, given_up.error)
    assert json.loads(done.result or "")["from"] == "plan-b"


def test_a_permanent_error_goes_to_the_fallback_at_once(folder: Path) -> None:
    first = command("a", "exit65", max_retries=5, fallback=other("plan-b"))
    with bench(chain(folder, first), folder) as at:
        assert isinstance(at.do(item())[0], Completed)
    assert names(folder) == ["a", "plan-b"]


def test_a_fallback_has_retries_of_its_own_and_the_step_is_not_tried_again_meanwhile(folder: Path) -> None:
    first = command("a", "exit65", fallback=other("plan-b", "exit75", max_retries=1))
    with bench(chain(folder, first), folder) as at:
        outcome = failed(at.do(item())[0])
        assert outcome.error.message.startswith("step a, fallback: exit code 75")
        at.do(again(item(), at, number=2, attempt=2))
        assert at.lines[2].tries == [StepTry("a", StepPath.FALLBACK, 2)]
    assert names(folder) == ["a", "plan-b", "plan-b"]


def test_where_there_is_a_fallback_an_outage_counts(folder: Path) -> None:
    """Its items need not wait until the receiver is back."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        first = {"name": "a", "http": {"url": url}, "max_retries": 1, "fallback": other("plan-b")}
        with bench(chain(folder, first), folder) as at:
            assert failed(at.do(item())[0]).error.type == "ConnectError"
            assert isinstance(at.do(item(2, attempt=2))[0], Completed)
    assert names(folder) == ["plan-b"]


def test_a_step_has_its_own_timeout(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "hold", timeout=0.2), timeout=60.0), folder) as at:
        assert failed(at.do(item())[0]).error.type == "Timeout"


def test_without_time_of_its_own_a_step_has_the_chains(folder: Path) -> None:
    config = chain(folder, command("a"), command("b", timeout=5.0), timeout=60.0, max_output=7)
    assert isinstance(config.spec, StepsSpec)
    assert [step.config.timeout for step in config.spec.steps] == [60.0, 5.0]
    assert config.timeout == 65.0


# -- interruptions


def test_a_step_that_is_done_is_not_done_again(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "exit75", max_retries=3)), folder) as at:
        at.do(item())
    with bench(chain(folder, command("a"), command("b")), folder) as then:
        (outcome,) = then.do(again(item(), at, attempt=2))
    assert outcome == Completed({"from": "b", "with": []})
    assert names(folder) == ["a", "b", "b"]


def test_where_all_steps_are_done_the_item_is(folder: Path) -> None:
    """The end of the last one was stored, and then the rows that it was to fill were refused."""
    config = chain(folder, command("a"), command("b"))
    with bench(config, folder) as at:
        at.do(item())
        assert at.do(again(item(), at, number=2)) == [Completed({"from": "b", "with": []})]
    assert names(folder) == ["a", "b"]
    assert at.lines[2].started_at == []


def test_nothing_goes_on_before_the_result_is_kept(folder: Path) -> None:
    with bench(chain(folder, command("a", "hold"), command("b")), folder) as at:
        line = held(at, folder)
        assert names(folder) == ["a"]
        assert line.held is not None
        line.held(True)
        assert isinstance(at.end(1), Completed)


def test_what_is_not_ours_any_more_does_not_go_on(folder: Path) -> None:
    with bench(chain(folder, command("a", "hold"), command("b")), folder) as at:
        line = at.start(item())
        with line.changed:
            line.go_on = False
        (folder / "go").touch()
        assert at.end(1) == HandedBack()
    assert names(folder) == ["a"]


@pytest.mark.parametrize(("hand_back", "end"), [(True, HandedBack()), (False, Cancelled())])
def test_told_to_end_between_two_steps(folder: Path, hand_back: bool, end: object) -> None:
    with bench(chain(folder, command("a", "hold"), command("b")), folder) as at:
        line = held(at, folder)
        at.processor.cancel(1, hand_back=hand_back)
        assert line.held is not None
        line.held(True)
        assert at.end(1) == end
    assert names(folder) == ["a"]


@pytest.mark.parametrize(("hand_back", "kind"), [(True, HandedBack), (False, Cancelled)])
def test_told_to_end_within_a_step(folder: Path, hand_back: bool, kind: type) -> None:
    with bench(chain(folder, command("a"), command("b", "hold"), command("c")), folder) as at:
        at.start(item())
        eventually(lambda: "b" in names(folder))
        at.processor.cancel(1, hand_back=hand_back)
        assert isinstance(at.end(1), kind)
        assert [kept.step for kept in at.lines[1].kept] == ["a"]
    assert names(folder) == ["a", "b"]


def test_closed_in_the_middle(folder: Path) -> None:
    """One waits for its result to be kept, one runs, one has not begun."""
    with bench(chain(folder, command("a", "hold"), command("b", "exit75")), folder, width=2) as at:
        waiting = held(at, folder)
        (folder / "go").unlink()
        at.start(item(2))
        at.start(item(3))
        eventually(lambda: names(folder) == ["a", "a"])
        at.processor.close()
        assert all(isinstance(at.end(number), HandedBack) for number in (1, 2, 3))
        assert waiting.held is not None
        waiting.held(True)  # the answer comes too late, and nothing happens
    assert names(folder) == ["a", "a"]


# -- a definition that has changed


def _plan(folder: Path, kept: list[Kept], *steps: Step) -> str | None:
    spec = chain(folder, *steps).spec
    following, _ = what_next(spec, item(), kept)
    return following and f"{following.step.name} {following.path}"


def _kept(folder: Path, *steps: Step, fallback: bool = False) -> list[Kept]:
    """As if these steps were done, the first by its fallback."""
    spec = chain(folder, *steps).spec
    kept: list[Kept] = []
    for n in range(len(steps)):
        following, _ = what_next(spec, item(), kept)
        assert following is not None
        if fallback and n == 0:
            kept.append(Kept(following.step.name, n, following.mark, StepPath.FALLBACK, False, 0, 0))
            following, _ = what_next(spec, item(), kept)
            assert following is not None
            kept.clear()
        kept.append(Kept(following.step.name, n, following.mark, following.path, True, 0, 0, "1"))
    return kept


Change = Callable[[Step], Step]


def _tuned(step: Step) -> Step:
    return step | {"timeout": 7.0, "max_retries": 9, "backoff": {"base": 1.0}}


def test_a_changed_step_runs_again_with_all_after_it(folder: Path) -> None:
    a, b, c = command("a"), command("b"), command("c")
    kept = _kept(folder, a, b, c)
    assert _plan(folder, kept, a, b, c) is None
    assert _plan(folder, kept, a, command("b", "other"), c) == "b step"
    renewed = _kept(folder, a, command("b", "other"))
    assert _plan(folder, [*renewed, kept[2]], a, command("b", "other"), c) == "c step"
    assert _plan(folder, kept, a, b, command("new"), c) == "new step"
    assert _plan(folder, kept, _tuned(a), _tuned(b), _tuned(c)) is None


def test_what_a_fallback_found_stands_while_both_definitions_do(folder: Path) -> None:
    a = command("a", fallback=other("plan-b"))
    kept = _kept(folder, a, fallback=True)
    assert _plan(folder, kept, a) is None
    assert _plan(folder, kept, command("a", "mended", fallback=other("plan-b"))) == "a step"
    assert _plan(folder, kept, command("a", fallback=other("plan-c"))) == "a step"
    assert _plan(folder, _kept(folder, a), command("a", fallback=other("plan-c"))) is None  # it was not needed


def test_a_secret_that_changes_changes_no_definition(folder: Path) -> None:
    from batchctl.template import Filled, Text

    def with_key(value: str) -> Step:
        return command("a", env={"KEY": Text([Filled(value, "${KEY}")])})

    assert _plan(folder, _kept(folder, with_key("one")), with_key("two")) is None


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


@pytest.mark.parametrize(("heeds", "names_"), [({"rate": (10, 1.0)}, []), ({}, ["plan-b"])])
def test_being_throttled_leads_to_the_fallback_only_where_it_costs_an_attempt(
    folder: Path, heeds: dict[str, Any], names_: list[str]
) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(429)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    with serving(Busy) as url:
        first = {"name": "a", "http": {"url": url}, "max_retries": 0, "fallback": other("plan-b")}
        config = replace(chain(folder, first), **heeds)
        with bench(config, folder) as at:
            (outcome,) = at.do(item())
    assert isinstance(outcome, Failed if heeds else Completed)
    assert names(folder) == names_
