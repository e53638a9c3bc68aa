"""The queue's figures in the text format of Prometheus. Pure. Names only grow; they do not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from batchctl.histogram import NONE, within
from batchctl.views.outages import Outage
from batchctl.views.stats import STATES, Figures

Labels = Mapping[str, str]
EDGES = tuple(2**power for power in range(4, 23, 2))  # ms: 16 ms, 64 ms … 70 min


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told, apart from queue and attempts: alive workers, the store's bytes, free bytes on its disk, receivers
    that are down, ms UTC."""

    version: str
    now: int
    workers: int
    store_bytes: int | None = None
    disk_free_bytes: int | None = None
    outages: Sequence[Outage] = ()


Parts = Mapping[tuple[str, str], Figures]


def text(queue: Parts, ever: Parts, facts: Facts) -> str:
    """One document. `queue` and `ever` are by (processor, organization): the queue now, and all attempts there were."""
    lines: list[str] = []
    _put(lines, "info", "gauge", "The program that wrote this.", [({"version": facts.version}, 1)])
    _put(lines, "written_timestamp_seconds", "gauge", "When this was written.", [({}, facts.now / 1000)])
    _queue(lines, queue, facts.now)
    _put(lines, "workers", "gauge", "Workers that are alive.", [({}, facts.workers)])
    down = [
        ({"processor": one.processor, "origin": one.origin}, max(0, facts.now - one.since) / 1000)
        for one in facts.outages
    ]
    _put(lines, "outage_age_seconds", "gauge", "How long a receiver that is down has been so.", down)
    _attempts(lines, ever)
    for name, value, about in (
        ("store_bytes", facts.store_bytes, "Size of the store."),
        ("disk_free_bytes", facts.disk_free_bytes, "Free space on the store's disk."),
    ):
        if value is not None:
            _put(lines, name, "gauge", about, [({}, value)])
    return "\n".join(lines) + "\n"


def _queue(lines: list[str], queue: Parts, now: int) -> None:
    items = [
        (_labels(part) | {"state": state}, figures.queued[state]) for part, figures in queue.items() for state in STATES
    ]
    _put(lines, "items", "gauge", "Items that are not finished, by state.", items)
    batches = [(_labels(part), figures.batches) for part, figures in queue.items()]
    _put(lines, "unfinished_batches", "gauge", "Batches that are not finished.", batches)
    ages = [
        (_labels(part), max(0, now - figures.oldest) / 1000 if figures.oldest is not None else 0)
        for part, figures in queue.items()
    ]
    _put(lines, "oldest_item_age_seconds", "gauge", "How long the oldest unfinished item has been in the queue.", ages)


def _attempts(lines: list[str], ever: Parts) -> None:
    ends = [
        (_labels(part) | {"outcome": outcome}, count)
        for part, figures in ever.items()
        for outcome, count in sorted(figures.outcomes.items())
    ]
    _put(lines, "attempts_total", "counter", "Attempts that ended, by outcome.", ends)
    name = "completed_attempt_duration_seconds"
    _head(lines, name, "histogram", "How long attempts took that completed their item.")
    for part, figures in ever.items():
        known = Counter({bucket: count for bucket, count in figures.buckets.items() if bucket != NONE})
        for edge in EDGES:
            _line(lines, f"{name}_bucket", _labels(part) | {"le": f"{edge / 1000:g}"}, within(known, edge))
        _line(lines, f"{name}_bucket", _labels(part) | {"le": "+Inf"}, known.total())
        _line(lines, f"{name}_sum", _labels(part), figures.took / 1000)
        _line(lines, f"{name}_count", _labels(part), known.total())


def _labels(part: tuple[str, str]) -> dict[str, str]:
    processor, organization = part
    return {"processor": processor, "organization": organization}


def _put(lines: list[str], name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float]]) -> None:
    _head(lines, name, kind, about)
    for labels, value in samples:
        _line(lines, name, labels, value)


def _head(lines: list[str], name: str, kind: str, about: str) -> None:
    lines += [f"# HELP batchctl_{name} {about}", f"# TYPE batchctl_{name} {kind}"]


def _line(lines: list[str], name: str, labels: Labels, value: float) -> None:
    inside = ",".join(f'{key}="{escaped(label)}"' for key, label in labels.items())
    lines.append(f"batchctl_{name}{{{inside}}} {value}" if inside else f"batchctl_{name} {value}")


def escaped(label: str) -> str:
    """A label's value as the format wants it."""
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
