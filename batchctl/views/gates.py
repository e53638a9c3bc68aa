"""What keeps a batch's pending items from being claimed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchctl.engines.base import Tx
from batchctl.model import WaitingFor

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Gate:
    """A closed gate: the reason that items show, until when (ms UTC, None: open end), and what closed it.

    what    "batch", "processor", "everything", "broken", "outage" or "rate"; of an outage `until` is the next probe, of
            a rate the next start
    """

    reason: WaitingFor
    until: int | None
    what: str
    since: int | None = None
    message: str | None = None


Processors = Mapping[str, Mapping[str, Any]]
_OPEN = {"paused": 0, "paused_until": None, "broken_since": None}


def processors(tx: Tx, org: str | None = None) -> Processors:
    """The rows of all processors that somebody paused, that are broken, shut by an outage or have a rate, by name.
    With `org`, what a receiver may have said about another organization's item is left out."""
    rows = tx.dicts("view_processors")
    for row in rows if org is not None else ():
        row["outage_message"] = None
        if row["broken_organization"] not in (None, org):
            row["broken_message"] = None
    known = {row["name"]: row for row in rows}
    for name, interval, next_start, *_ in tx.all("all_paces"):
        if interval is not None:
            known.setdefault(name, dict(_OPEN))["next_start"] = next_start
    return known


def gate_of(batch: Mapping[str, Any], known: Processors, now: int) -> Gate | None:
    """The first gate that is closed for the batch's row, None where its pending items may be claimed."""
    if _holds(batch, now):
        return Gate(WaitingFor.PAUSED, batch["paused_until"], "batch")
    for name, what in ((EVERYTHING, "everything"), (batch["processor"], "processor")):
        row = known.get(name)
        if row is not None and _holds(row, now):
            return Gate(WaitingFor.PAUSED, row["paused_until"], what)
    if batch["not_before"] is not None and batch["not_before"] > now:
        return Gate(WaitingFor.SCHEDULE, batch["not_before"], "batch")
    row = known.get(batch["processor"])
    if row is not None and row["broken_since"] is not None:
        message = _told(row["broken_type"], row["broken_message"])
        return Gate(WaitingFor.PROCESSOR, None, "broken", row["broken_since"], message)
    if row is not None and row.get("out_since") is not None and row["expires_at"] > now:
        message = f"{row['outage_origin']}: {_told(row['outage_type'], row['outage_message'])}"
        return Gate(WaitingFor.OUTAGE, row["probe_at"], "outage", row["out_since"], message)
    if row is not None and row.get("next_start", 0) > now:
        return Gate(WaitingFor.RATE, int(row["next_start"]), "rate")
    return None


def moves(gate: Gate) -> bool:
    """Whether what it keeps goes on by itself, as `run` waits for it."""
    return gate.reason in (WaitingFor.OUTAGE, WaitingFor.RATE)


def _told(kind: str, message: str | None) -> str:
    return kind if message is None else f"{kind}: {message}"


def _holds(row: Mapping[str, Any], now: int) -> bool:
    return bool(row["paused"]) and (row["paused_until"] is None or row["paused_until"] > now)
