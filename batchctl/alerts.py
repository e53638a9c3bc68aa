"""What a person should be told of the queue: pure, given the store's facts and the config's rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchctl.config import AlertRules

_ENOUGH = 10  # items that must have ended before a share of failures means anything


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong. `name` and `subject` tell it from others; `command` is the next one to type."""

    name: str
    message: str
    command: str
    subject: str = ""
    processor: str | None = None
    organization: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """An unfinished batch. Times in ms UTC, `timeout` in seconds.

    left      items that are not final
    claimable whether a pending item may be claimed, or one is processing
    since     when it came, was opened again, or when its schedule began
    held      paused, scheduled, being cancelled, or its processor paused or broken
    """

    no: int
    id: str
    name: str | None
    processor: str
    organization: str
    left: int
    processed: int
    claimable: bool
    started: bool
    held: bool
    since: int
    timeout: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.id} ({self.name})" if self.name else self.id


@dataclass(frozen=True, slots=True)
class Facts:
    """What is the case at `now` (ms UTC).

    broken     processor → what broke it
    outages    receivers that are down: processor, origin, since, error
    served     processors that the config here, or a living worker, knows
    still      batch number → since when none of its items has ended
    unserved   processor → since when nobody serves it
    ended, failed   items within the window; `failed` are among `ended`
    free, least     bytes on the store's disk, and worker.min_free
    """

    now: int
    batches: Sequence[OpenBatch] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    outages: Sequence[tuple[str, str, int, str]] = ()
    still: Mapping[int, int] = field(default_factory=dict)
    unserved: Mapping[str, int] = field(default_factory=dict)
    ended: int = 0
    failed: int = 0
    free: int = 0
    least: int = 0


def unserved(batches: Sequence[OpenBatch], served: Collection[str]) -> set[str]:
    """Processors that have work and that nobody knows; what a batch brings along is known to everybody."""
    found = {one.processor for one in batches if one.left and not one.held and not one.processor.startswith("inline:")}
    return found - set(served)


def judge(facts: Facts, rules: AlertRules) -> list[Condition]:
    """Everything that is wrong now."""
    checks = (_depth, _oldest, _failures, _stuck, _no_worker, _broken, _outages, _disk)
    return [found for check in checks for found in check(facts, rules)]


def _depth(facts: Facts, rules: AlertRules) -> Iterator[Condition]:
    depth = sum(one.left for one in facts.batches)
    if rules.queue_depth is not None and depth > rules.queue_depth:
        message = f"{depth:,} items are in the queue, more than {rules.queue_depth:,}"
        yield Condition("queue_depth", message, "batchctl stats")


def _oldest(facts: Facts, rules: AlertRules) -> Iterator[Condition]:
    waiting = [one for one in facts.batches if one.left and not one.held]
    if rules.oldest_pending is None or not waiting:
        return
    oldest = min(waiting, key=lambda one: one.since)
    if _age(facts, oldest.since) > rules.oldest_pending:
        message = f"items of {oldest.label} have waited for {_span(_age(facts, oldest.since))}"
        yield Condition("oldest_pending", message, f"batchctl why {oldest.id}")


def _failures(facts: Facts, rules: AlertRules) -> Iterator[Condition]:
    if rules.failure_rate is None or facts.ended < _ENOUGH or facts.failed <= rules.failure_rate * facts.ended:
        return
    share = f"{facts.failed:,} of {facts.ended:,} items failed within {_span(rules.failure_window)}"
    yield Condition("failure_rate", f"{share}, more than {rules.failure_rate:.0%}", "batchctl errors")


def _stuck(facts: Facts, rules: AlertRules) -> Iterator[Condition]:
    for one in facts.batches:
        if rules.stuck is None or one.held or not one.started or not one.claimable:
            continue
        age = _age(facts, facts.still.get(one.no, facts.now))
        if age > rules.stuck + one.timeout:
            yield Condition(
                "stuck_batch",
                f"no item of {one.label} has ended for {_span(age)}, and {one.left:,} are left",
                f"batchctl why {one.id}",
                subject=one.id,
                processor=one.processor,
                organization=one.organization or None,
            )


def _no_worker(facts: Facts, rules: AlertRules) -> Iterator[Condition]:
    for name, since in facts.unserved.items():
        if rules.no_worker is None or _age(facts, since) < rules.no_worker:
            continue
        mine = [one for one in facts.batches if one.processor == name]
        yield Condition(
            "no_worker",
            f"{sum(one.left for one in mine):,} items wait for the processor {name}, which no worker knows",
            f"batchctl why {min(mine, key=lambda one: one.no).id}",
            subject=name,
            processor=name,
            hint="was it renamed? Put it back into the config under that name, or cancel its batches",
        )


def _broken(facts: Facts, rules: AlertRules) -> Iterator[Condition]:  # noqa: ARG001 - it needs no rule
    for name, reason in facts.broken.items():
        left = sum(one.left for one in facts.batches if one.processor == name)
        if left:
            yield Condition(
                "processor_broken",
                f"the processor {name} is broken, {left:,} items wait: {reason}",
                f"batchctl resume --processor {name}",
                subject=name,
                processor=name,
                hint="its items go on when its config or its secret changes",
            )


def _outages(facts: Facts, rules: AlertRules) -> Iterator[Condition]:
    for name, origin, since, error in facts.outages:
        if rules.outage is None or _age(facts, since) < rules.outage:
            continue
        left = sum(one.left for one in facts.batches if one.processor == name)
        yield Condition(
            "outage",
            f"{origin} is down for {_span(rules.outage)} or longer, {left:,} items of {name} wait: {error}",
            "batchctl stats",
            subject=f"{name} {origin}",
            processor=name,
            hint="its items go on by themselves when it answers",
        )


def _disk(facts: Facts, rules: AlertRules) -> Iterator[Condition]:  # noqa: ARG001 - its rule is worker.min_free
    if facts.free < facts.least:
        message = f"the store's disk has {_size(facts.free)} left, less than {_size(facts.least)} (worker.min_free)"
        yield Condition("low_disk", f"{message}: nothing more is claimed", "batchctl doctor", hint="free some space")


def _age(facts: Facts, since: int) -> float:
    return (facts.now - since) / 1000


def _span(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24} d {hours % 24} h" if hours >= 48 else f"{hours} h {minutes} min"


def _size(number: int) -> str:
    return f"{number / 1_000_000:,.0f} MB"
