"""Runs contenders in turns on the same work and compares their rates.

The machine's speed drifts while a benchmark runs (other work, disks, heat). So the contenders take turns within each
round, a ratio is taken within its round, and the median of the rounds counts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. `whole` is the time with the program's start and end where `seconds` leaves them out.

    Both in seconds; `facts` are other measures, such as peak memory.
    """

    seconds: float
    whole: float | None = None
    facts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """Does the work once in a fresh folder, and says how long the work itself took.

    missing   why it cannot run here: the result says so, nothing fails
    """

    name: str
    run: Callable[[Path], Sample]
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What `subject` should reach: `at_least` times the rate of the best of `against` (of those that ran).

    None: only for information. With `whole` the subject's start and end count too.
    """

    subject: str
    against: tuple[str, ...]
    at_least: float | None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """The worst `fact` of `subject` in any round has to stay at or under `at_most`."""

    subject: str
    fact: str
    at_most: float
    unit: str


@dataclass(frozen=True, slots=True)
class Versus:
    """The work: `count` things called `unit`, done by each contender in each of `rounds`."""

    name: str
    title: str
    count: int
    unit: str
    contenders: Sequence[Contender]
    goals: Sequence[Goal | Limit]
    rounds: int = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal and what became of it. `value` is None where nothing to compare with ran."""

    text: str
    value: float | None
    wanted: str
    passed: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One contender's row. Rates are things a second, medians of the rounds."""

    name: str
    seconds: list[float]
    rate: float
    whole_rate: float | None
    facts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    name: str
    title: str
    unit: str
    lines: list[Line]
    verdicts: list[Verdict]
    missing: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(verdict.passed is not False for verdict in self.verdicts)


class Progress(Protocol):
    def __call__(self, text: str) -> None: ...


Samples = dict[str, list[Sample]]


def measure(work: Versus, base: Path, say: Progress) -> Report:
    """Run it. `base` is a folder on the disk that counts; `say` hears what goes on."""
    running = [contender for contender in work.contenders if contender.missing is None]
    samples: Samples = {contender.name: [] for contender in running}
    for number in range(work.rounds):
        first = number % len(running)
        for contender in running[first:] + running[:first]:
            say(f"{work.name}: round {number + 1} of {work.rounds}: {contender.name}")
            samples[contender.name].append(in_fresh_folder(base, contender.run))
    missing = [(c.name, c.missing) for c in work.contenders if c.missing is not None]
    verdicts = [judge(goal, samples) for goal in work.goals]
    return Report(work.name, work.title, work.unit, lines(work.count, samples), verdicts, missing)


def in_fresh_folder(base: Path, run: Callable[[Path], Any]) -> Any:
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=base))
    try:
        return run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lines(count: int, samples: Samples) -> list[Line]:
    return [
        Line(
            name=name,
            seconds=[round(sample.seconds, 4) for sample in runs],
            rate=count / median(sample.seconds for sample in runs),
            whole_rate=count / median(_whole(sample) for sample in runs) if runs[0].whole is not None else None,
            facts={fact: max(sample.facts[fact] for sample in runs) for fact in runs[0].facts},
        )
        for name, runs in samples.items()
    ]


def judge(goal: Goal | Limit, samples: Samples) -> Verdict:
    return _judge_limit(goal, samples) if isinstance(goal, Limit) else _judge_goal(goal, samples)


def _judge_goal(goal: Goal, samples: Samples) -> Verdict:
    rivals = [name for name in goal.against if name in samples]
    text = f"{goal.subject}{' (whole command)' if goal.whole else ''} / {' or '.join(rivals or goal.against)}"
    wanted = "" if goal.at_least is None else f">= {goal.at_least:g}"
    if not rivals or goal.subject not in samples:
        return Verdict(text, None, wanted, None)
    ratio = median(
        min(_whole(samples[rival][number]) for rival in rivals) / (_whole(own) if goal.whole else own.seconds)
        for number, own in enumerate(samples[goal.subject])
    )
    return Verdict(text, ratio, wanted, None if goal.at_least is None else ratio >= goal.at_least)


def _judge_limit(limit: Limit, samples: Samples) -> Verdict:
    text, wanted = f"{limit.subject}: {limit.fact}", f"<= {limit.at_most:g} {limit.unit}"
    runs = samples.get(limit.subject)
    if not runs:
        return Verdict(text, None, wanted, None)
    worst = max(sample.facts[limit.fact] for sample in runs)
    return Verdict(text, worst, wanted, worst <= limit.at_most)


def _whole(sample: Sample) -> float:
    return sample.seconds if sample.whole is None else sample.whole
