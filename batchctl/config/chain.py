"""What holds between the steps of a processor: names that differ, and templates that look at earlier steps only."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from batchctl.config.problems import Path, dotted, listed
from batchctl.config.report import Report
from batchctl.template import authored

_BLOCK = re.compile(r"\{[{%](.*?)[}%]\}", re.DOTALL)
_STEP = re.compile(r"""(?<![\w.'"])steps\s*(?:\.\s*|\[\s*['"])([A-Za-z_]\w*)""")


def check_steps(value: Mapping[str, Any], path: Path, report: Report) -> None:
    """Notes names that stand twice, and `steps.NAME` where no step of that name comes before."""
    steps = value.get("steps")
    before: list[str] = []
    for number, step in enumerate(steps if isinstance(steps, list) else ()):
        if not isinstance(step, Mapping):
            continue
        place: Path = (*path, "steps", number)
        _check_references(step, place, before, report)
        name = step.get("name")
        if name in before:
            report.error((*place, "name"), f"two steps of {dotted(path)} are called `{name}`")
        elif isinstance(name, str):
            before.append(name)
    _check_references({key: below for key, below in value.items() if key != "steps"}, path, before, report)


def _check_references(value: Any, path: Path, before: Collection[str], report: Report) -> None:
    for place, text in _strings(value, path):
        for block in _BLOCK.findall(authored(text)):
            for name in _STEP.findall(block):
                if name not in before:
                    known = f"those before are {listed(before)}" if before else "none comes before"
                    report.error(place, f"{dotted(place)}: there is no step `{name}` before this; {known}")


def _strings(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _strings(below, (*path, name))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _strings(below, (*path, number))
    elif isinstance(value, str) and "steps" in value:
        yield path, value
