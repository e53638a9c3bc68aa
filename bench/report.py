"""Reports as text for people and as JSON for machines, with the figures of the machine."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.harness import Line, Report, Verdict


def machine(base: Path) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(base),
    }


def as_json(reports: Sequence[Report], base: Path) -> dict[str, Any]:
    return {
        "machine": machine(base),
        "passed": all(report.passed for report in reports),
        "benchmarks": [asdict(report) | {"passed": report.passed} for report in reports],
    }


def header(base: Path) -> str:
    facts = machine(base)
    return (
        f"{facts['cores']} × {facts['cpu']}, load {facts['load']}, {facts['system']}, {facts['file_system']}, "
        f"Python {facts['python']}, SQLite {facts['sqlite']}"
    )


def as_text(report: Report) -> str:
    """One benchmark as a small table: rates, then goals with what was reached."""
    width = max([len(line.name) for line in report.lines] + [len(v.text) for v in report.verdicts] + [20])
    rows = ["", report.title]
    rows += [f"  {line.name:<{width}}  {_rates(line, report.unit)}" for line in report.lines]
    rows += [f"  {name:<{width}}  missing: {why}" for name, why in report.missing]
    rows += [f"  {verdict.text:<{width}}  {_outcome(verdict)}" for verdict in report.verdicts]
    rows += [f"  {note}" for note in report.notes]
    return "\n".join(rows)


def _rates(line: Line, unit: str) -> str:
    text = f"{line.rate:>12,.0f} {unit}/s"
    if line.whole_rate is not None:
        text += f"   ({line.whole_rate:,.0f} with start and end)"
    return text + "".join(f"   {name} {value:,.3g}" for name, value in line.facts.items())


def _outcome(verdict: Verdict) -> str:
    if verdict.value is None:
        return f"{'–':>12} {verdict.wanted:>10}   nothing to compare with"
    outcome = {True: "ok", False: "MISSED", None: ""}[verdict.passed]
    return f"{verdict.value:>12.2f} {verdict.wanted:>10}   {outcome}".rstrip()


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`: what a durable commit costs depends on it."""
    if sys.platform != "linux":
        return "unknown file system"
    best, kind = "", "unknown file system"
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, found, *_ = line.split()
        inside = path.is_relative_to(mount)
        if inside and len(mount) >= len(best):
            best, kind = mount, found
    return kind
