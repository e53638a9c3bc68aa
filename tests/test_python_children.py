"""The `python` processor: children that crash, hang, are cancelled, or lose their worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processor_kit import Work, eventually, item
from python_shop import python_work

from batchctl.model import Cancelled, Completed, Failed, HandedBack


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return python_work(tmp_path)


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
    [
        ("exit", "exit code 7"),
        ("kill", "killed by SIGKILL (out of memory?)"),
        ("segfault", "killed by SIGSEGV"),
        ("hang up", "killed by SIGKILL"),
    ],
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
        "from batchctl.config.structs import ProcessorConfig, PythonSpec\n"
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
