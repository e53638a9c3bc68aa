"""Trivial Python items on PostgreSQL, each result stored durably, with one worker; beside procrastinate."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from bench import orders
from bench.harness import Contender, Goal, Sample, Versus
from bench.postgres_server import Databases, asked
from bench.program import NOOP, Program

COUNT = 10_000
PEER = "procrastinate"
MANY = "procrastinate, 10 at once"


def benchmark(count: int, server: Databases) -> Versus:
    missing = None if importlib.util.find_spec("procrastinate") else "not installed"
    return Versus(
        name="postgres-drain",
        title=f"PostgreSQL: drain {count:,} trivial Python items with one worker, each outcome stored durably",
        count=count,
        unit="items",
        contenders=[
            Contender(PEER, partial(procrastinate, count=count, concurrency=1, server=server), missing),
            Contender(MANY, partial(procrastinate, count=count, concurrency=10, server=server), missing),
            Contender("batchctl", partial(batchctl, count=count, server=server)),
        ],
        goals=[Goal("batchctl", (PEER, MANY), 5)],
        rounds=3,  # procrastinate takes its time
    )


def batchctl(folder: Path, count: int, server: Databases) -> Sample:
    """`seconds` is the command's own `duration_ms`."""
    with server.fresh(store=True) as url:
        program = Program(folder)
        program.configure(NOOP, store=url)
        orders.write(folder / "orders.jsonl", count)
        program.run("enqueue", "orders", "orders.jsonl", "-p", "noop")
        done = program.run("run", "-j", str(os.cpu_count()))
        assert done.answer["completed"] == count
        return Sample(done.answer["duration_ms"] / 1000, done.seconds)


PROCRASTINATE = """
import asyncio, json, sys, time
from procrastinate import App, PsycopgConnector

url, count, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
app = App(connector=PsycopgConnector(conninfo=url, min_size=2, max_size=concurrency + 4))

@app.task(name="handle")
async def handle(payload):
    return {"n": payload["n"]}

async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        payloads = [json.loads(line) for line in sys.stdin]
        for start in range(0, count, 1000):
            await handle.batch_defer_async(*({"payload": one} for one in payloads[start : start + 1000]))
        began = time.perf_counter()
        await app.run_worker_async(concurrency=concurrency, wait=False, install_signal_handlers=False)
        print(time.perf_counter() - began)

asyncio.run(main())
"""


def procrastinate(folder: Path, count: int, concurrency: int, server: Databases) -> Sample:
    """Its worker in a process of its own, with async tasks; it keeps no results, only that a job has succeeded."""
    script = folder / "peer.py"
    script.write_text(PROCRASTINATE, encoding="utf-8")
    path = orders.write(folder / "orders.jsonl", count)
    with server.fresh() as url, path.open(encoding="utf-8") as lines:
        began = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, script.name, url, str(count), str(concurrency)],
            cwd=folder,
            stdin=lines,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            check=True,
        )
        whole = time.perf_counter() - began
        assert asked(url, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'") == count
    return Sample(float(done.stdout.split()[-1]), whole)
