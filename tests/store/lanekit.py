"""What tests of lanes and rates share: orders with lanes, what a config would say of a processor's pace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from batchctl.model import Incoming
from batchctl.store import Scope, Store
from batchctl.transitions import pacing


@dataclass(frozen=True)
class Rate:
    count: int
    seconds: float


@dataclass(frozen=True)
class Rules:
    concurrency: int = 1
    rate: Rate | None = None
    on_failure: str = "continue"


@dataclass(frozen=True)
class Definition:
    lane: Rules | None = None
    rate: Rate | None = None


PACED = Scope(frozenset({"p"}), paced=frozenset({"p"}))


def adopt(store: Store, definition: Definition, processor: str = "p") -> None:
    """A worker with that config has come."""
    with store.engine.write(shared=True) as tx:
        pacing.adopt(tx, {processor: definition})


def laned(lanes: Iterable[str], prefix: str = "k") -> list[Incoming]:
    """One order for each of these lanes; `A` makes the keys k1A, …"""
    return [
        Incoming(f"{prefix}{n}{lane}", n, json.dumps({"account": lane}), f"orders.csv:{n}", lane=lane)
        for n, lane in enumerate(lanes, 1)
    ]
