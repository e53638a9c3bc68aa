"""A batch's row as the contract's JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batchctl.model import Priority, WaitingFor
from batchctl.views.gates import Gate
from batchctl.views.times import iso

STATES = ("pending", "waiting", "processing", "submitted", "completed", "failed", "cancelled")


def counts(row: Mapping[str, Any], gate: Gate | None) -> dict[str, int]:
    """How many items are in each state, with their total; the states always add up to it."""
    held = {state: row[f"{state}_items"] for state in STATES if state != "pending"}
    total: int = row["total_items"]
    ready = max(0, total - sum(held.values()))
    pending, waiting = (0, ready) if gate is not None else (ready, 0)
    found = held | {"pending": pending, "waiting": held["waiting"] + waiting}
    return {"total": sum(found.values()), **{state: found[state] for state in STATES}}


def batch_json(row: Mapping[str, Any], gate: Gate | None, now: int) -> dict[str, Any]:
    """The contract's batch, from a row of `view_batch…`."""
    summary = counts(row, gate)
    processed = summary["completed"] + summary["failed"] + summary["cancelled"]
    total = summary["total"]
    open_ = gate is None or gate.reason is WaitingFor.RATE
    return {
        "id": row["id"],
        "name": row["name"],
        "group": row["group_name"],
        "kind": row["kind"],
        "processor": row["processor"],
        "status": row["status"],
        "paused": gate is not None and gate.what == "batch" and gate.reason == "paused",
        "priority": Priority(row["priority"]).name.lower(),
        "organization": row["organization"] or None,
        "user": row["submitter"],
        "total_items": total,
        **{f"{state}_items": summary[state] for state in STATES},
        "processed_items": processed,
        "progress_percent": round(100 * processed / total, 1) if processed < total else 100.0,
        "eta_seconds": _eta(row, total - processed, processed, now) if open_ or processed == total else None,
        "run_no": row["run_no"],
        "created_at": iso(row["created_at"]),
        "started_at": iso(row["started_at"]),
        "completed_at": iso(row["completed_at"]),
        "error": row["error"],
        "usage": _parsed(row["usage"]),
        "cost": _parsed(row["cost"]),
    }


def _eta(row: Mapping[str, Any], left: int, processed: int, now: int) -> float | None:
    """Seconds to the end at the rate of this run; None where nothing tells.

    A batch that was opened again counts from its last retry on: `reopened_items` went back at `reopened_at`.
    """
    begun, done = row["started_at"], processed
    if row["reopened_at"] is not None:
        begun, done = row["reopened_at"], row["reopened_items"] - left
    if left == 0 or begun is None or done <= 0 or row["completed_at"] is not None or now <= begun:
        return 0.0 if left == 0 else None
    return round(float(left * (now - begun) / done / 1000), 1)


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
