"""An item's row as the contract's JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from batchctl.views.gates import Gate
from batchctl.views.times import iso

FINAL = ("completed", "failed", "cancelled")


def item_json(
    row: Mapping[str, Any],
    gate: Gate | None,
    max_attempts: int | None,
    steps: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The contract's item, from a row of `view_item…`; `gate` is its batch's closed gate."""
    state, waiting_for = row["state"], row["waiting_for"]
    if state == "pending" and gate is not None:
        state, waiting_for = "waiting", gate.reason.value
    return {
        "id": row["id"],
        "batch_id": row["batch_id"],
        "key": row["key"],
        "state": state,
        "waiting_for": waiting_for,
        "attempts": row["attempts_used"],
        "max_attempts": max_attempts,
        "progress": row["progress"] if state == "processing" else None,
        "lane": row["lane"],
        "payload": json.loads(row["payload"]),
        "file": file_json(row["file"]),
        "result": None if row["result"] is None else json.loads(row["result"]),
        "error": _error(row),
        "steps": [_step(step) for step in steps] or None,
        "usage": None if row["usage"] is None else json.loads(row["usage"]),
        "next_attempt_at": iso(row["next_attempt_at"]),
        "created_at": iso(row["created_at"]),
        "started_at": iso(row["started_at"]),
        "completed_at": iso(row["completed_at"]),
        "duration_ms": _duration(row),
        "worker": row["worker_id"],
    }


def file_json(text: str | None) -> dict[str, Any] | None:
    """The facts of an item's file, without what only the program needs."""
    if text is None:
        return None
    facts = json.loads(text)
    shown = {name: facts.get(name) for name in ("path", "name", "size", "sha256", "media_type")}
    return shown | {"stored": True} if facts.get("stored") else shown


def attempt_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """One try at an item."""
    started, ended = row["started_at"], row["ended_at"]
    return {
        "attempt": row["claim_no"],
        "worker": row["worker_id"],
        "outcome": row["outcome"],
        "counted": bool(row["counted"]),
        "started_at": iso(started),
        "ended_at": iso(ended),
        "duration_ms": None if started is None else max(0, ended - started),
        "error": error_json(row["error_type"], row["error_message"], bool(row["permanent"])),
    }


def error_json(kind: str | None, message: str | None, permanent: bool) -> dict[str, Any] | None:
    """{type, message, permanent}, None where there is no error."""
    if kind is None and message is None:
        return None
    return {"type": kind or "Error", "message": message or "", "permanent": permanent}


def _error(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error that it ended with, or that its last try ended with while it waits for the next."""
    if row["state"] == "completed":
        return None
    if row["error_type"] is not None or row["error_message"] is not None:
        return error_json(row["error_type"], row["error_message"], bool(row["permanent"]))
    if row["attempts_used"] == 0:  # sent back with fresh attempts: what was before is history
        return None
    return error_json(row["last_error_type"], row["last_error_message"], False)


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    """What a step has left behind; with `path` fallback, `error` says why the step itself gave up."""
    return {
        "name": step["step"],
        "path": step["path"],
        "result": None if step["result"] is None else json.loads(step["result"]),
        "error": error_json(step["error_type"], step["error_message"], False),
        "completed_at": iso(step["completed_at"]) if step["finished"] else None,
    }


def _duration(row: Mapping[str, Any]) -> int | None:
    """How long its last try took."""
    if row["started_at"] is None or row["completed_at"] is None:
        return None
    took: int = row["completed_at"] - row["started_at"]
    return max(0, took)
