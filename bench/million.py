"""A million orders at once: in flat memory, and without making a worker beside it wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import orders
from bench.harness import Limit, Progress, Report, Sample, in_fresh_folder, judge, lines
from bench.program import Program, beside

COUNT = 1_000_000
BESIDE = 100_000
PEAK_MB = 200
LONGEST_MS = 500


def run(count: int, base: Path, say: Progress) -> Report:
    """One round: what it looks for is the worst moment, not a rate."""
    sample: Sample = in_fresh_folder(base, lambda folder: enqueue(folder, count, say))
    samples = {"batchctl": [sample]}
    goals = [
        Limit("batchctl", "peak MB", PEAK_MB, "MB"),
        *(Limit("batchctl", f"longest {kind} ms", LONGEST_MS, "ms") for kind in ("claim", "heartbeat", "cancel")),
    ]
    title = f"Enqueue {count:,} orders while a worker beside it claims, heartbeats and cancels"
    verdicts = [judge(goal, samples) for goal in goals]
    return Report("million", title, "orders", lines(count, samples), verdicts, [])


def enqueue(folder: Path, count: int, say: Progress) -> Sample:
    program = Program(folder)
    program.configure('  noop: {python: "handlers:handle"}\n  beside: {python: "handlers:handle"}\n')
    say(f"million: writing {count:,} orders")
    orders.write(folder / "beside.jsonl", BESIDE)
    orders.write(folder / "orders.jsonl", count)
    program.run("enqueue", "orders", "beside.jsonl", "-p", "beside")
    say(f"million: enqueueing {count:,} orders")
    with bystander(folder / "queue.db") as waits:
        done = program.run("enqueue", "orders", "orders.jsonl", "-p", "noop", watch_memory=True)
    assert done.answer["batch"]["total_items"] == count
    facts = {"peak MB": done.peak_mb} | {f"longest {kind} ms": value for kind, value in waits.items()}
    return Sample(done.seconds, facts=facts)


@contextmanager
def bystander(store: Path) -> Iterator[dict[str, float]]:
    """Runs it meanwhile; its figures are there afterwards."""
    waits: dict[str, float] = {}
    with beside("bench.bystander", str(store)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield waits
        finally:
            out, _ = process.communicate()
            waits.update(json.loads(out))
