"""Several workers on one PostgreSQL: whether the second helps, and whether sixteen get in each other's way."""

from __future__ import annotations

import json
import subprocess
import time
from functools import partial
from pathlib import Path

from bench import orders
from bench.harness import Contender, Goal, Line, Progress, Report, Sample, Verdict, Versus, in_fresh_folder
from bench.postgres_server import Databases, asked
from bench.program import BatchctlFailed, Program

WAITING = 4_000
PAUSE = 0.005
SLOTS = 4
CROWD = 16
CROWDED = 20_000
ORGANIZATIONS = 4

PROCESSOR = '  slow: {python: "slow:handle"}\n'
HANDLER = f"""\
import time

def handle(item, context):
    time.sleep({PAUSE})
    return {{"n": item.payload["n"]}}
"""


def two(count: int, server: Databases) -> Versus:
    return Versus(
        name="postgres-two",
        title=f"PostgreSQL: drain {count:,} items that wait {PAUSE * 1000:g} ms, {SLOTS} at once a worker",
        count=count,
        unit="items",
        contenders=[
            Contender(name, partial(drain, count=count, workers=workers, server=server))
            for name, workers in (("one worker", 1), ("two workers", 2))
        ],
        goals=[Goal("two workers", ("one worker",), 1.7)],
    )


def drain(folder: Path, count: int, workers: int, server: Databases) -> Sample:
    """`seconds` is the `duration_ms` of the worker that took longest: they start together."""
    with server.fresh(store=True) as url:
        program = _program(folder, url)
        orders.write(folder / "orders.jsonl", count)
        program.run("enqueue", "orders", "orders.jsonl", "-p", "slow")
        began = time.perf_counter()
        answers = [_answer(one) for one in [program.start("run", "-j", str(SLOTS)) for _ in range(workers)]]
        whole = time.perf_counter() - began
    assert sum(answer["completed"] for answer in answers) == count
    return Sample(max(answer["duration_ms"] for answer in answers) / 1000, whole)


def crowd(count: int, base: Path, server: Databases, say: Progress) -> Report:
    """Sixteen workers at once on batches of several organizations, while more is enqueued: nobody may see an error."""
    say(f"postgres-crowd: {CROWD} workers")
    sample: Sample = in_fresh_folder(base, lambda folder: _crowd(folder, count, server))
    line = Line(f"{CROWD} workers", [round(sample.seconds, 4)], count / sample.seconds, None, sample.facts)
    verdicts = [Verdict(fact, value, "<= 0", value <= 0) for fact, value in sample.facts.items()]
    title = f"PostgreSQL: {CROWD} workers drain {count:,} items of {ORGANIZATIONS} organizations while more is enqueued"
    return Report("postgres-crowd", title, "items", [line], verdicts, [])


def _crowd(folder: Path, count: int, server: Databases) -> Sample:
    with server.fresh(store=True) as url:
        program = _program(folder, url)
        orders.write(folder / "orders.jsonl", count // ORGANIZATIONS // 2)
        enqueues = [
            ("enqueue", "orders", "orders.jsonl", "-p", "slow", "--org", f"org{number}", "--again")
            for number in range(ORGANIZATIONS)
        ]
        for command in enqueues:
            program.run(*command)
        began = time.perf_counter()
        drains = [program.start("run", "-j", "2") for _ in range(CROWD)]
        failed = sum(_failed(one) for one in [program.start(*command) for command in enqueues])
        failed += sum(_failed(one) for one in drains)
        failed += _failed(program.start("run", "-j", "2"))  # what came when the others had gone
        seconds = time.perf_counter() - began
        facts = {
            "commands that failed": float(failed),
            "items not completed": float(count - asked(url, "SELECT count(*) FROM items WHERE state = 'completed'")),
            "attempts too many": float(asked(url, "SELECT count(*) FROM attempts") - count),
            "deadlocks": float(asked(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")),
        }
    return Sample(seconds, facts=facts)


def _program(folder: Path, url: str) -> Program:
    program = Program(folder)
    program.configure(PROCESSOR, store=url)
    (folder / "slow.py").write_text(HANDLER, encoding="utf-8")
    return program


def _answer(process: subprocess.Popen[str]) -> dict[str, int]:
    out, err = process.communicate()
    if process.returncode:
        raise BatchctlFailed(f"batchctl run: exit {process.returncode}\n{out}\n{err}")
    answer: dict[str, int] = json.loads(out)
    return answer


def _failed(process: subprocess.Popen[str]) -> bool:
    """True where it did not end with 0, or spoke of an error."""
    _, err = process.communicate()
    return process.returncode != 0 or "deadlock" in err or "serializ" in err
