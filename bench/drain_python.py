"""Trivial Python items, each result stored durably, beside bare sqlite3 and other queues on SQLite."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from bench import bare, orders
from bench.harness import Contender, Goal, Sample, Versus
from bench.program import NOOP, Program

COUNT = 10_000
LIMIT = "sqlite3, claim + complete in groups of 100"
SAME = "sqlite3, the same on the same tables"


def benchmark(count: int) -> Versus:
    return Versus(
        name="python",
        title=f"Drain {count:,} trivial Python items, each result stored durably",
        count=count,
        unit="items",
        contenders=[
            Contender(LIMIT, partial(bare.claim_and_complete, count=count)),
            Contender(SAME, partial(bare.claim_and_complete_same_tables, count=count)),
            Contender("huey on SQLite", partial(huey, count=count), missing=_not_installed("huey")),
            Contender("batchctl", partial(batchctl, count=count)),
        ],
        goals=[
            Goal("batchctl", (LIMIT,), 0.25),
            Goal("batchctl", (SAME,), None),
            Goal("batchctl", ("huey on SQLite",), 5),
        ],
    )


def batchctl(folder: Path, count: int) -> Sample:
    """`seconds` is the command's own `duration_ms`."""
    program = Program(folder)
    program.configure(NOOP)
    orders.write(folder / "orders.jsonl", count)
    program.run("enqueue", "orders", "orders.jsonl", "-p", "noop")
    done = program.run("run", "-j", str(os.cpu_count()))
    assert done.answer["completed"] == count
    return Sample(done.answer["duration_ms"] / 1000, done.seconds)


HUEY = """
import sys, threading, time
from huey import SqliteHuey

huey = SqliteHuey(filename="huey.db", fsync=True, results=True)
count = int(sys.argv[1])
left, ended = count, threading.Event()

@huey.task()
def handle(payload):
    return {"n": payload["n"]}

@huey.signal("complete")
def on_complete(signal, task):
    global left
    left -= 1
    if not left:
        ended.set()

for n in range(1, count + 1):
    handle({"n": n})
consumer = huey.create_consumer(workers=int(sys.argv[2]), periodic=False, initial_delay=0.001, max_delay=0.001)
began = time.perf_counter()
consumer.start()
ended.wait()
print(time.perf_counter() - began)
consumer.stop(graceful=False)
"""


def huey(folder: Path, count: int) -> Sample:
    """Its consumer with as many threads as there are cores, each commit on the disk, results kept."""
    script = folder / "peer.py"
    script.write_text(HUEY, encoding="utf-8")
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, script.name, str(count), str(os.cpu_count())],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        check=True,
    )
    return Sample(float(done.stdout.split()[-1]), time.perf_counter() - began)


def _not_installed(module: str) -> str | None:
    return None if importlib.util.find_spec(module) else "not installed"
