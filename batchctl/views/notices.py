"""The outbox as people and programs see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from batchctl.engines.base import Tx
from batchctl.views.times import iso

STATES = ("due", "sending", "sent", "dead")


def notices(tx: Tx, state: str | None, org: str | None, limit: int) -> list[dict[str, Any]]:
    """Messages, newest first."""
    return [_notice(row) for row in tx.dicts("view_notices", {"state": state, "org": org, "limit": limit})]


def notice_counts(tx: Tx, org: str | None) -> dict[str, int]:
    """How many messages are in each state."""
    return dict.fromkeys(STATES, 0) | dict(tx.all("view_notice_counts", {"org": org}))


def _notice(row: Mapping[str, Any]) -> dict[str, Any]:
    message = _message(bytes(row["message"]))
    return {
        "id": row["id"],
        "event": row["event"],
        "batch_id": row["batch_id"],
        "run_no": row["run_no"],
        "target": row["target"],
        "recipient": message.get("recipient") or None,
        "subject": message.get("subject"),
        "state": row["state"],
        "attempts": row["attempts"],
        "created_at": iso(row["created_at"]),
        "next_attempt_at": iso(row["next_attempt_at"]),
        "expires_at": iso(row["expires_at"]) if row["state"] == "due" else None,
        "sent_at": iso(row["sent_at"]),
        "error": row["error"],
    }


def _message(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
