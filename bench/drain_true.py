"""`/bin/true`, four at a time, beside threads with Popen and the tools that people use for it."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.harness import Contender, Goal, Sample, Versus
from bench.program import Program

COUNT = 3_000
AT_ONCE = 4
TRUE = shutil.which("true") or "/bin/true"


def benchmark(count: int) -> Versus:
    parallel = None if _gnu_parallel() else "not installed"
    return Versus(
        name="command",
        title=f"Drain {count:,} × {TRUE}, {AT_ONCE} at a time",
        count=count,
        unit="runs",
        contenders=[
            Contender("Popen in four threads", partial(popen, count=count)),
            Contender("xargs -P4", partial(xargs, count=count)),
            Contender("GNU parallel --joblog", partial(gnu_parallel, count=count), missing=parallel),
            Contender("batchctl", partial(batchctl, count=count)),
        ],
        goals=[
            Goal("batchctl", ("Popen in four threads",), 0.85),
            Goal("batchctl", ("xargs -P4",), 1.0),
            Goal("batchctl", ("xargs -P4",), None, whole=True),
            Goal("batchctl", ("GNU parallel --joblog",), 7),
        ],
    )


def batchctl(folder: Path, count: int) -> Sample:
    """`seconds` is the command's own `duration_ms`."""
    program = Program(folder)
    program.configure(f"  true: {{command: [{TRUE}]}}\n")
    _write_ids(folder / "ids.jsonl", count, '{{"id": {}}}\n')
    program.run("enqueue", "orders", "ids.jsonl", "-p", "true")
    done = program.run("run", "-j", str(AT_ONCE))
    assert done.answer["completed"] == count
    return Sample(done.answer["duration_ms"] / 1000, done.seconds)


def popen(folder: Path, count: int) -> Sample:
    """The limit for a Python program: no pipes, nothing stored."""
    left: Iterator[int] = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            subprocess.Popen([TRUE], cwd=folder).wait()  # noqa: S603 - /bin/true

    return _timed(lambda: _in_threads(work))


def xargs(folder: Path, count: int) -> Sample:
    ids = _write_ids(folder / "ids", count, "{}\n")
    with ids.open("rb") as source:
        return _timed(lambda: _run(["xargs", f"-P{AT_ONCE}", "-n1", TRUE], folder, source))


def gnu_parallel(folder: Path, count: int) -> Sample:
    ids = _write_ids(folder / "ids", count, "{}\n")
    command = ["parallel", "--joblog", "log", f"-j{AT_ONCE}", TRUE]
    with ids.open("rb") as source:
        return _timed(lambda: _run(command, folder, source))


def _in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _run(command: list[str], folder: Path, source: object) -> None:
    subprocess.run(command, cwd=folder, stdin=source, stdout=subprocess.DEVNULL, check=True)  # type: ignore[call-overload]  # noqa: S603 - fixed words


def _timed(work: Callable[[], None]) -> Sample:
    began = time.perf_counter()
    work()
    return Sample(time.perf_counter() - began)


def _write_ids(path: Path, count: int, line: str) -> Path:
    path.write_text("".join(line.format(n) for n in range(1, count + 1)), encoding="utf-8")
    return path


def _gnu_parallel() -> bool:
    """moreutils has another program of that name."""
    if shutil.which("parallel") is None:
        return False
    shown = subprocess.run(["parallel", "--version"], capture_output=True, check=False)  # noqa: S607 - from the PATH
    return b"GNU parallel" in shown.stdout
