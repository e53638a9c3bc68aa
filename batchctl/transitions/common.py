"""Small steps that several transitions share."""

from __future__ import annotations

import json
from typing import Any

from batchctl.engines.base import Tx


def wake(tx: Tx, batch_no: int) -> None:
    """The batch has something pending again: its group and its organization's turn may be claimed."""
    if tx.run("wake_group", {"no": batch_no}):
        tx.run("wake_turn", {"no": batch_no})
        tx.run("open_turn", {"no": batch_no})


def open_group(tx: Tx, batch_no: int, now: int) -> None:
    """Put the batch into the claim index with the gate that its row asks for, or bring its entry up to date."""
    tx.run("insert_group", {"no": batch_no, "now": now})
    tx.run("wake_turn", {"no": batch_no})
    tx.run("open_turn", {"no": batch_no})


def event(
    tx: Tx,
    name: str,
    now: int,
    *,
    organization: str = "",
    batch_no: int | None = None,
    item_id: int | None = None,
    actor: str | None = None,
    count: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """One line of the audit trail; `detail` must not hold a secret."""
    tx.run(
        "insert_event",
        {
            "at": now,
            "organization": organization,
            "batch_no": batch_no,
            "item_id": item_id,
            "actor": actor,
            "event": name,
            "count": count,
            "detail": json.dumps(detail) if detail else None,
        },
    )
