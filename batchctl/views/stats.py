"""What `stats` answers: the queue as it is, and what attempts came to over a window. Reads summaries, never items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from batchctl.engines.again import again
from batchctl.engines.base import Tx
from batchctl.histogram import percentile
from batchctl.views.gates import gate_of, processors
from batchctl.views.outages import Outage, outages
from batchctl.views.times import iso
from batchctl.views.views import Views

MINUTE = 60_000
STEPS = tuple(minutes * MINUTE for minutes in (1, 5, 15, 60, 360, 1440, 10_080))  # of the timeline; days at last
MOST_STEPS = 72
STATES = ("pending", "waiting", "processing", "submitted")


@dataclass(slots=True)
class Figures:
    """Sums over some part of the queue. Times in ms UTC, lengths of time in ms.

    queued    items by state, of batches that are not finished
    outcomes  attempts by how they ended
    buckets   of completed attempts: how many took how long, see `histogram`
    """

    batches: int = 0
    queued: Counter[str] = field(default_factory=Counter)
    oldest: int | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    took: int = 0

    def queue(self, items: Counter[str], since: int) -> None:
        self.batches += 1
        self.queued.update(items)
        self.oldest = since if self.oldest is None else min(self.oldest, since)

    def attempts(self, outcome: str, bucket: int, count: int, took: int) -> None:
        self.outcomes[outcome] += count
        if outcome == "completed":
            self.buckets[bucket] += count
            self.took += took


Parts = dict[tuple[str, str], Figures]


@dataclass(slots=True)
class Statistics:
    """The answer: all together and by part; `timeline` has (beginning, outcomes) for each step, empty ones included."""

    since: int
    until: int
    step: int
    total: Figures = field(default_factory=Figures)
    processors: dict[str, Figures] = field(default_factory=dict)
    organizations: dict[str, Figures] = field(default_factory=dict)
    users: dict[str, Figures] = field(default_factory=dict)
    timeline: list[tuple[int, Counter[str]]] = field(default_factory=list)
    first: int | None = None
    outages: list[Outage] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)

    def parts(self, processor: str, organization: str, user: str | None) -> Iterator[Figures]:
        yield self.total
        yield self.processors.setdefault(processor, Figures())
        yield self.organizations.setdefault(organization, Figures())
        yield self.users.setdefault(user or "", Figures())


@again
def statistics(views: Views, since: int) -> Statistics:
    """The queue now, and attempts that ended since then (ms UTC; 0 for all there ever were). One snapshot."""
    with views.engine.read() as tx:
        now = views.engine.now()
        found = begun(since, now)
        where = {"since": found.since, "org": views.org}
        for batch, items in _left(tx, views.org, now):
            for part in found.parts(batch["processor"], batch["organization"], batch["submitter"]):
                part.queue(items, batch["created_at"])
        for processor, organization, user, outcome, bucket, count, took in tx.all("view_attempts_since", where):
            for part in found.parts(processor, organization, user):
                part.attempts(outcome, bucket, int(count), int(took))
        found.first = tx.value("view_first_minute", where)
        known = set(found.processors)
        found.limits = {name: most for name, most in tx.all("adaptive_limits") if name in known}
        found.outages = [one for one in outages(tx, now, org=views.org) if views.org is None or one.processor in known]
        steps = dict(found.timeline)
        for step, outcome, count in tx.all("view_attempts_by_time", where | {"step": found.step}):
            steps.get(found.since + step * found.step, Counter())[outcome] += int(count)
    return found


def begun(since: int, now: int) -> Statistics:
    """An empty answer. The window begins with a step of the timeline, none of which is left out."""
    step = next((step for step in STEPS if (now - since) / step <= MOST_STEPS), STEPS[-1])
    start = since - since % (step if since else 1)
    timeline = [(at, Counter[str]()) for at in range(start, now + 1, step)] if since else []
    return Statistics(start, now, step, timeline=timeline)


def _left(tx: Tx, org: str | None, now: int) -> Iterator[tuple[dict[str, Any], Counter[str]]]:
    """Each unfinished batch with its items by state, as people see them."""
    known = processors(tx)
    for row in tx.dicts("view_queue", {"org": org}):
        items = Counter({state: row[f"{state}_items"] for state in STATES if state != "pending"})
        ready = max(0, row["left_items"] - items.total())
        items["pending" if gate_of(row, known, now) is None else "waiting"] += ready
        yield row, items


def success_rate(figures: Figures) -> float | None:
    """The share of the items that ended well, of those that ended; None where none did."""
    done, failed = figures.outcomes["completed"], figures.outcomes["failed"]
    return done / (done + failed) if done + failed else None


def per_minute(found: Statistics, figures: Figures) -> float:
    """Completed items a minute, over the window or since there was anything."""
    begin = max(found.since, found.first or found.since)
    return figures.outcomes["completed"] * MINUTE / max(MINUTE, found.until - begin)


def as_json(found: Statistics) -> dict[str, Any]:
    """The document of `stats --json`."""
    return {
        "since": iso(found.since),
        "until": iso(found.until),
        **_figures(found, found.total),
        "processors": _named(found, found.processors),
        "organizations": _named(found, found.organizations),
        "users": _named(found, found.users),
        "outages": [one.json() for one in found.outages],
        "adaptive_concurrency": found.limits,
        "timeline": [_step(at, outcomes) for at, outcomes in found.timeline],
        "step_ms": found.step,
    }


def _named(found: Statistics, parts: dict[str, Figures]) -> list[dict[str, Any]]:
    return [{"name": name or None, **_figures(found, parts[name])} for name in sorted(parts)]


def _figures(found: Statistics, figures: Figures) -> dict[str, Any]:
    outcomes, rate = figures.outcomes, success_rate(figures)
    done = outcomes["completed"]
    return {
        "queue": {
            "items": figures.queued.total(),
            **{state: figures.queued[state] for state in STATES},
            "batches": figures.batches,
            "oldest_at": iso(figures.oldest),
            "oldest_ms": None if figures.oldest is None else max(0, found.until - figures.oldest),
        },
        "completed": done,
        "failed": outcomes["failed"],
        "retried": outcomes["retry"],
        "attempts": outcomes.total(),
        "success_percent": None if rate is None else round(100 * rate, 2),
        "mean_ms": round(figures.took / done) if done else None,
        "p50_ms": percentile(figures.buckets, 0.5),
        "p95_ms": percentile(figures.buckets, 0.95),
        "completed_per_minute": round(per_minute(found, figures), 2),
    }


def _step(at: int, outcomes: Counter[str]) -> dict[str, Any]:
    return {
        "at": iso(at),
        "completed": outcomes["completed"],
        "failed": outcomes["failed"],
        "retried": outcomes["retry"],
    }


@again
def by_part(views: Views) -> tuple[Parts, Parts]:
    """The queue now, and all attempts there ever were, by (processor, organization)."""
    queue: Parts = {}
    ever: Parts = {}
    with views.engine.read() as tx:
        for batch, items in _left(tx, views.org, views.engine.now()):
            part = (batch["processor"], batch["organization"])
            queue.setdefault(part, Figures()).queue(items, batch["created_at"])
        rows = tx.all("view_attempts_since", {"since": 0, "org": views.org})
    for processor, organization, _, outcome, bucket, count, took in rows:
        ever.setdefault((processor, organization), Figures()).attempts(outcome, bucket, int(count), int(took))
    return dict(sorted(queue.items())), dict(sorted(ever.items()))
