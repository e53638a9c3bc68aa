"""Promise 6: stopping costs no attempt. The first signal gives what runs its grace, the second ends at once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish

LOOP = "def call(item, context):\n    open('held', 'a').write(f'{item.key}\\n')\n    while True: pass\n"
INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(("number", "code"), [(INT, 130), (TERM, 143)])
def test_the_first_ends_claims_and_lets_finish_what_runs(scene: Scene, number: signal.Signals, code: int) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}, {"id": 2}, {"id": 3}])
    worker = scene.worker("-j", "1", "--grace", "1h")
    scene.holds(1)
    worker.send_signal(number)
    scene.touch("go")
    out, _ = finish(worker, code)
    answer = json.loads(out)
    assert (answer["completed"], answer["unfinished_items"]) == (1, 2)
    assert scene.states() == {"completed": 1, "pending": 2}
    assert [start["key"] for start in scene.ran()] == ["1"]
    scene.alone()
    scene.drain()
    audit(scene)


def test_after_the_grace_what_runs_goes_back_unspent(scene: Scene) -> None:
    batch = scene.enqueue([{"id": n, "hold": "go", "holds": 1, "child": True} for n in (1, 2)])
    worker = scene.worker("-j", "2", "--grace", "100ms")
    scene.holds(2)
    worker.send_signal(TERM)
    finish(worker, 143)
    scene.alone()
    assert scene.states() == {"pending": 2}
    assert scene.rows("SELECT outcome, counted FROM attempts") == [("handed_back", 0)] * 2
    assert scene.value("SELECT sum(suspect) FROM items") == 0
    scene.drain()
    item = scene.item(f"{batch}/1")
    assert (item["attempts"], item["state"]) == (1, "completed")
    assert [start["attempt"] for start in scene.ran()] == ["1"] * 4
    audit(scene)


def test_the_second_ends_at_once_whatever_the_grace(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go", "stubborn": True, "child": True}])
    worker = scene.worker("--grace", "1h")
    scene.holds(1)
    worker.send_signal(INT)
    worker.send_signal(TERM)
    finish(worker, 130)
    scene.alone()
    assert scene.states() == {"pending": 1}
    assert scene.rows("SELECT outcome, counted FROM attempts") == [("handed_back", 0)]


def test_a_function_that_never_returns_goes_back_too(scene: Scene) -> None:
    (scene.folder / "work.py").write_text(LOOP)
    scene.enqueue(2, processor="call")
    worker = scene.worker("-j", "2", "--grace", "0s")
    scene.holds(2)
    worker.send_signal(TERM)
    finish(worker, 143)
    scene.alone()
    assert scene.states() == {"pending": 2}
    assert scene.value("SELECT sum(attempts_used) FROM items") == 0


def test_a_run_that_waits_for_a_retry_stops_at_once(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("max_retries: 3", "max_retries: 3, backoff: {base: 1h, factor: 1, max: 1h}"))
    scene.enqueue([{"id": 1, "fail": 1}], processor="stubborn")
    worker = scene.worker()
    eventually(lambda: scene.states() == {"waiting": 1})
    worker.send_signal(INT)
    finish(worker, 130)
    assert scene.states() == {"waiting": 1}


def test_a_service_that_has_nothing_to_do_stops(scene: Scene) -> None:
    worker = scene.worker("--forever")
    eventually(lambda: _is_made(scene) and _workers(scene))
    worker.send_signal(TERM)
    finish(worker, 143)
    assert _workers(scene) == 0


def _is_made(scene: Scene) -> bool:
    if scene.database.path is None:
        return True
    return scene.store.exists() and bool(scene.value("SELECT count(*) FROM sqlite_master"))


def _workers(scene: Scene) -> int:
    return int(scene.value("SELECT count(*) FROM workers"))


@pytest.fixture
def with_terminal() -> Iterator[None]:
    """Programs started here do not ignore SIGHUP, even where the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("with_terminal")
def test_a_closed_terminal_is_an_ordinary_stop(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go", "holds": 1}])
    worker = scene.worker("--grace", "0s")
    scene.holds(1)
    worker.send_signal(signal.SIGHUP)
    finish(worker, 129)
    scene.alone()
    assert scene.rows("SELECT outcome, counted FROM attempts") == [("handed_back", 0)]
    assert scene.value("SELECT suspect FROM items") == 0


def test_under_nohup_a_closed_terminal_is_nothing(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}])
    worker = subprocess.Popen(
        ["nohup", "python", "-m", "batchctl", "run"],
        cwd=scene.folder,
        env=scene.cli.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    scene.started.append(worker)
    scene.holds(1)
    worker.send_signal(signal.SIGHUP)
    scene.touch("go")
    finish(worker, 0)
    audit(scene)


def test_enqueue_run_stops_as_run_does(scene: Scene) -> None:
    (scene.folder / "one.jsonl").write_text('{"id": 1, "hold": "go"}\n{"id": 2}\n')
    args = ("enqueue", "orders", "one.jsonl", "-p", "deed", "--run", "-j", "1", "--grace", "0s", "--json")
    process = scene.cli.start(*args)
    scene.started.append(process)
    scene.holds(1)
    process.send_signal(INT)
    finish(process, 130)
    scene.alone()
    assert scene.states() == {"pending": 2}
