"""The `python` processor, with real child interpreters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processor_kit import Bench, bench, eventually, file_ref, item

from batchctl import Retry, Unavailable
from batchctl.config.structs import ProcessorConfig, PythonSpec
from batchctl.masking import Masker
from batchctl.model import Broken, Cancelled, Completed, Down, Failed, HandedBack, ItemError

MODULE = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
from batchctl import Permanent, Retry, Unavailable

def double(item, context):
    return {"twice": item["n"] * 2, "pid": os.getpid()}

def facts(item, context):
    return [item.number, item.key, item.payload, item.attempt, item.idempotency_key, item.organization, item.user,
            item.batch.id, item.batch.name, item.batch.total_items, context.idempotency_key, item.get("no", 5),
            "n" in item]

def where(item, context):
    return [os.getcwd(), os.environ.get("BATCHCTL_WORKER"), sys.path[0], os.getsid(0) == os.getpid()]

async def later(item, context):
    await asyncio.sleep(0.01)
    return id(asyncio.get_running_loop()) > 0

def values(item, context):
    return item["value"]

def strange(item, context):
    return {"set": {1, 2}, "nan": float("nan"), "surrogate": "\\udc80", "deep": None}[item["kind"]]

def raises(item, context):
    raise {"retry": Retry("busy", after="2m"), "plain retry": Retry(), "permanent": Permanent("no such order"),
           "down": Unavailable("ERP is closed", after=5), "value": ValueError("bad total"), "exit": SystemExit(3),
           "interrupt": KeyboardInterrupt()}[item["kind"]]

def prints(item, context):
    if item["n"] % 2:
        print("to stdout", item["n"])
        os.write(2, b"to fd 2\\n")
        subprocess.run(["echo", "from a child"])
        context.log("a line")

def reports(item, context):
    for percent in (10, 45.5):
        context.progress(percent)
    print("half way")
    Path(item["go"]).parent.joinpath("reported").touch()
    while not Path(item["go"]).exists():
        time.sleep(0.01)
    return context.artifact("made/x.pdf") == Path("made/x.pdf").absolute()

def dies(item, context):
    how = item.get("how")
    print("last words", flush=True)
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        import ctypes
        ctypes.string_at(0)
    return item["n"]

def hangs(item, context):
    if item.get("hang"):
        subprocess.Popen(["sleep", "987"])
        while True:
            pass
    return "done"

def waits(item, context):
    Path(f"running-{item.number}").touch()
    while not (item.get("polite") and context.cancelled) and not Path(f"go-{item.number}").exists():
        time.sleep(0.01)
    return "finished"

def reads(item, context):
    return item.file and [item.file.name, Path(item.file.path).read_text()]

def one_argument(item):
    pass

class Tools:
    @staticmethod
    def nested(item, context):
        return "nested"
"""


Work = Callable[..., AbstractContextManager[Bench]]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A bench whose processor calls a function of MODULE."""
    (tmp_path / "shop.py").write_text(MODULE)

    def make(function: str, *, module: str = "shop", timeout: float = 60.0, longest: int = 10**7, **kwargs: Any) -> Any:
        spec = PythonSpec(module, function, longest)
        config = ProcessorConfig("p", "python", spec, tmp_path, timeout=timeout)
        return bench(config, tmp_path, **kwargs)

    return make


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


def test_progress_and_output_are_seen_while_it_runs(work: Work, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with work("reports") as at:
        line = at.start(item(1, {"go": str(go)}))
        line.wait(lambda line: line.percents == [10, 45.5] and line.text == "half way\n" and len(line.started_at) == 1)
        go.touch()
        outcome = at.end(1)
    assert outcome == Completed(True, artifacts=(str(tmp_path / "made/x.pdf"),))


@pytest.mark.parametrize(
    ("how", "told"),
    [("exit", "exit code 7"), ("kill", "killed by SIGKILL (out of memory?)"), ("segfault", "killed by SIGSEGV")],
)
def test_a_crash_costs_one_item_its_attempt_and_no_more(work: Work, how: str, told: str) -> None:
    with work("dies") as at:
        outcomes = at.do(*(item(n, {"n": n} | ({"how": how} if n in (5, 17, 18) else {})) for n in range(1, 41)))
    for n, outcome in enumerate(outcomes, 1):
        if n in (5, 17, 18):
            assert isinstance(outcome, Failed)
            assert outcome.error.type == "ProcessDied"
            assert told in outcome.error.message
            assert not outcome.error.permanent
            assert "last words" in at.lines[n].text + outcome.log
            assert at.lines[n].started_at
        else:
            assert isinstance(outcome, Completed)
            assert outcome.result == n
            assert at.lines[n].text + outcome.log == "last words\n"


def test_a_function_that_never_returns_is_ended_with_all_it_started(work: Work) -> None:
    with work("hangs", timeout=0.5) as at:
        hung, *others = at.do(item(1, {"hang": True}), *(item(n) for n in range(2, 20)))
        assert isinstance(hung, Failed)
        assert hung.error.type == "Timeout"
        assert "0.5 s" in hung.error.message
        assert others == [Completed("done")] * 18
        eventually(lambda: not _running("sleep", "987", at.runtime.environment["HOME"]))


def _running(*words: str) -> list[str]:
    """Processes with these arguments whose HOME is the last word."""
    *argv, home = (os.fsencode(word) for word in words)
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().split(b"\0")[:-1] == list(argv):
                found += [entry.name] if b"HOME=" + home in (entry / "environ").read_bytes().split(b"\0") else []
        except OSError:
            continue
    return found


def test_cancel_ends_what_runs_and_what_waits(work: Work, tmp_path: Path) -> None:
    with work("waits", width=1) as at:
        for n in (1, 2, 3):
            at.start(item(n))
        eventually((tmp_path / "running-1").exists)
        at.processor.cancel(2, hand_back=False)
        at.processor.cancel(99, hand_back=False)
        assert at.end(2) == Cancelled()
        at.processor.cancel(1, hand_back=False)
        assert at.end(1) == Cancelled()
        eventually((tmp_path / "running-3").exists)
        (tmp_path / "go-3").touch()
        assert at.end(3) == Completed("finished")


def test_a_function_may_see_that_it_is_cancelled(work: Work, tmp_path: Path) -> None:
    with work("waits", width=1) as at:
        at.start(item(1, {"polite": True}))
        eventually((tmp_path / "running-1").exists)
        pid = at.processor._children[0].pid  # type: ignore[attr-defined]
        at.processor.cancel(1, hand_back=True)
        assert at.end(1) == HandedBack()
        os.kill(pid, 0)  # it was not killed for that


def test_a_child_that_is_asked_to_end_finishes_its_item(work: Work, tmp_path: Path) -> None:
    """As systemd asks every process of a service that it stops."""
    with work("waits", width=1) as at:
        for n in (1, 2):
            at.start(item(n))
        eventually((tmp_path / "running-1").exists)
        os.kill(at.processor._children[0].pid, signal.SIGTERM)  # type: ignore[attr-defined]
        for n in (1, 2):
            (tmp_path / f"go-{n}").touch()
            assert at.end(n) == Completed("finished")


def test_withdraw_gives_back_what_nobody_started(work: Work, tmp_path: Path) -> None:
    with work("waits", width=2) as at:
        for n in range(1, 600):
            at.start(item(n, {"filler": "x" * 20_000}))
        eventually(lambda: (tmp_path / "running-1").exists() and (tmp_path / "running-2").exists())
        assert at.processor.withdraw() == list(range(3, 600))
        assert at.processor.withdraw() == []
        for n in (1, 2):
            (tmp_path / f"go-{n}").touch()
            assert at.end(n) == Completed("finished")


def test_a_narrower_processor_runs_fewer_at_once(work: Work, tmp_path: Path) -> None:
    with work("waits", width=2) as at:
        at.start(item(1))
        at.start(item(2))
        eventually(lambda: (tmp_path / "running-1").exists() and (tmp_path / "running-2").exists())
        at.processor.resize(1)
        for n in (3, 4):
            at.start(item(n))
        for n in (1, 2):
            (tmp_path / f"go-{n}").touch()
            at.end(n)
        eventually((tmp_path / "running-3").exists)
        eventually(lambda: len(at.processor._children) == 1)  # type: ignore[attr-defined]
        assert not (tmp_path / "running-4").exists()
        at.processor.resize(2)
        eventually((tmp_path / "running-4").exists)
        for n in (3, 4):
            (tmp_path / f"go-{n}").touch()
            at.end(n)


def test_close_hands_back_what_runs(work: Work, tmp_path: Path) -> None:
    with work("waits", width=1) as at:
        at.start(item(1))
        at.start(item(2))
        eventually((tmp_path / "running-1").exists)
        pid = at.processor._children[0].pid  # type: ignore[attr-defined]
    assert at.end(1) == at.end(2) == HandedBack()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


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


def test_an_idle_child_that_is_killed_is_replaced(work: Work) -> None:
    with work("double", width=1) as at:
        (first,) = at.do(item(1, {"n": 1}))
        assert isinstance(first, Completed)
        os.kill(first.result["pid"], signal.SIGKILL)
        (second,) = at.do(item(2, {"n": 2}))
        assert isinstance(second, Completed)
        assert second.result["twice"] == 4


def test_items_survive_children_that_are_killed_at_random(work: Work) -> None:
    """Whatever the moment: an item ends once, completed or with the crash of its own child."""
    with work("double", width=3) as at:
        total = 3000
        for n in range(1, total + 1):
            at.start(item(n, {"n": n}))
        victims = 0
        for n in range(1, total + 1):
            at.end(n)
            children = at.processor._children  # type: ignore[attr-defined]
            if n % 300 == 0 and children:
                victims += 1
                os.kill(children[0].pid, signal.SIGKILL)
        crashed = [o for o in at.ended.values() if not isinstance(o, Completed)]
        assert all(isinstance(o, Failed) and o.error.type == "ProcessDied" for o in crashed)
        assert len(crashed) <= victims


@pytest.mark.usefixtures("work")
def test_children_die_with_their_worker(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(
        "import sys, time; sys.path[:0] = sys.argv[1:]\n"
        "from pathlib import Path\n"
        "from processor_kit import bench, item, eventually\n"
        "from batchctl import Retry, Unavailable
from batchctl.config.structs import ProcessorConfig, PythonSpec\n"
        "here = Path.cwd()\n"
        "with bench(ProcessorConfig('p', 'python', PythonSpec('shop', 'waits'), here), here, width=1) as at:\n"
        "    at.start(item(1)); eventually(Path('running-1').exists)\n"
        "    print(at.processor._children[0].pid, flush=True); time.sleep(600)\n"
    )
    words = [sys.executable, "worker.py", str(Path(__file__).parent)]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        child = Path("/proc", worker.stdout.readline().strip(), "status")
        assert child.exists()
        worker.kill()
    eventually(lambda: not child.exists() or "State:\tZ" in child.read_text())
