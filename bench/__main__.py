"""`python -m bench [NAME…] [--items N] [--rounds N] [--huge] [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench import (
    check_idle,
    claim_cost,
    drain_http,
    drain_python,
    drain_true,
    enqueue,
    million,
    postgres_claim,
    postgres_drain,
    postgres_enqueue,
    postgres_workers,
    views,
)
from bench.harness import Report, Versus, measure
from bench.postgres_server import Databases, databases
from bench.postgres_workers import CROWDED
from bench.report import as_json, as_text, header

Run = Callable[[argparse.Namespace, Path], Report]


def versus(make: Callable[[int], Versus], count: int) -> Run:
    def run(options: argparse.Namespace, base: Path) -> Report:
        work = make(options.items or count)
        return measure(replace(work, rounds=options.rounds or work.rounds), base, say)

    return run


def on_postgres(work: Callable[[argparse.Namespace, Path, Databases], Report]) -> Run:
    """A benchmark that gets a server of its own."""

    def run(options: argparse.Namespace, base: Path) -> Report:
        with databases(base) as server:
            report = work(options, base, server)
            return replace(report, notes=[*report.notes, f"PostgreSQL {server.version()}"])

    return run


def postgres_versus(make: Callable[[int, Databases], Versus], count: int) -> Run:
    return on_postgres(lambda options, base, server: versus(lambda items: make(items, server), count)(options, base))


BENCHMARKS: dict[str, Run] = {
    "enqueue": versus(enqueue.benchmark, enqueue.COUNT),
    "million": lambda options, base: million.run(options.items or million.COUNT, base, say),
    "python": versus(drain_python.benchmark, drain_python.COUNT),
    "command": versus(drain_true.benchmark, drain_true.COUNT),
    "http": versus(drain_http.benchmark, drain_http.COUNT),
    "idle": lambda options, base: check_idle.run(options.items, options.rounds, base, say),
    "views": lambda options, base: views.run(options.items, options.rounds, base, say),
    "claim": lambda options, base: claim_cost.run(options.items, base, say, huge=options.huge),
    "postgres-enqueue": postgres_versus(postgres_enqueue.benchmark, postgres_enqueue.COUNT),
    "postgres-drain": postgres_versus(postgres_drain.benchmark, postgres_drain.COUNT),
    "postgres-two": postgres_versus(postgres_workers.two, postgres_workers.WAITING),
    "postgres-crowd": on_postgres(
        lambda options, base, server: postgres_workers.crowd(options.items or CROWDED, base, server, say)
    ),
    "postgres-claim": on_postgres(
        lambda options, _, server: postgres_claim.run(options.items or postgres_claim.LARGE, server, say)
    ),
    "postgres-million": on_postgres(
        lambda options, _, server: postgres_claim.run_drained(options.items or postgres_claim.LARGE, server, say)
    ),
}
POSTGRES = "postgres"  # all of them


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is a command of its own


def main() -> int:
    options = _options()
    base = Path(options.dir)
    reports = []
    if not options.json:
        print(header(base))  # noqa: T201 - its answer
    for name in chosen(options.names):
        report = BENCHMARKS[name](options, base)
        reports.append(report)
        if not options.json:
            print(as_text(report), flush=True)  # noqa: T201 - its answer
    if options.json:
        print(json.dumps(as_json(reports, base), indent=2))  # noqa: T201 - its answer
    return 0 if all(report.passed for report in reports) else 1


def chosen(names: Sequence[str]) -> list[str]:
    """The benchmarks to run, by their names; `postgres` stands for all of its own."""
    named = [one for name in names for one in BENCHMARKS if name in (one, one.partition("-")[0])]
    return named or list(BENCHMARKS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and memory; see docs/benchmarks.md.")
    help_text = f"{', '.join(BENCHMARKS)}; {POSTGRES} for all of its own"
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS, POSTGRES], metavar="NAME", help=help_text)
    parser.add_argument("--items", type=int, help="how many items instead of each benchmark's own number")
    parser.add_argument("--rounds", type=int, help="how often everything is run in turns (default: 5)")
    parser.add_argument("--huge", action="store_true", help="claim: also with 10,000,000 queued (5 GB of disk)")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="folder for the stores: its disk is measured")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
