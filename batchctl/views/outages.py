"""Which receivers are down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchctl.engines.base import Tx
from batchctl.views.times import iso


@dataclass(frozen=True, slots=True)
class Outage:
    """A receiver of a processor's requests that is down. Times in ms UTC; `probe_at` is None while an item tries it.

    gates   nothing of the processor is claimed meanwhile
    """

    processor: str
    origin: str
    since: int
    gates: bool
    probe_at: int | None
    error: str

    def json(self) -> dict[str, Any]:
        return {
            "processor": self.processor,
            "origin": self.origin,
            "since": iso(self.since),
            "next_probe_at": iso(self.probe_at),
            "error": self.error,
        }


def outages(tx: Tx, now: int, processor: str | None = None, *, org: str | None = None) -> list[Outage]:
    """Those of one processor or of all, the longest first; not those whose failures count again (`max_outage`). `org`:
    only those that hold this organization's items up, and nothing of what was said about others'."""
    return [
        Outage(name, origin, since, bool(gates), probe_at, f"{kind}: {message}" if org is None else str(kind))
        for name, origin, since, expires_at, gates, probe_at, kind, message in tx.all(
            "view_outages", {"processor": processor, "org": org}
        )
        if expires_at > now
    ]
