"""Small steps that several transitions share."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from batchctl.engines.base import Engine, Tx

# Groups and turns are changed under `lock_turns`, after everything else that a transaction may wait for.


def wake(tx: Tx, batch_nos: Iterable[int]) -> None:
    """These batches have something pending again: their groups and organizations' turns may be claimed."""
    wanted = sorted(batch_nos)
    if wanted:
        tx.value("lock_turns")
    for batch_no in wanted:
        if tx.run("wake_group", {"no": batch_no}):
            _ready(tx, batch_no)


def open_group(tx: Tx, batch_no: int, now: int) -> None:
    """Put the batch into the claim index with the gate that its row asks for, or bring its entry up to date."""
    tx.value("lock_turns")
    tx.run("insert_group", {"no": batch_no, "now": now})
    _ready(tx, batch_no)


def close_groups(tx: Tx, batch_nos: Iterable[int]) -> None:
    """These batches have nothing more to claim."""
    ended = sorted(batch_nos)
    if ended:
        tx.value("lock_turns")
    for batch_no in ended:
        tx.run("delete_group", {"no": batch_no})


def _ready(tx: Tx, batch_no: int) -> None:
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


@contextmanager
def presence(engine: Engine) -> Iterator[str]:
    """A token for something that takes several commits; while it lasts, recovery leaves that to us."""
    token = "l" + secrets.token_hex(8)
    mark = engine.presence(token)
    try:
        yield token
    finally:
        mark.leave()
