"""What `why` wants to know of a batch's place in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchctl.engines.again import again
from batchctl.engines.base import Tx
from batchctl.views.outages import outages
from batchctl.views.views import Views


@dataclass(frozen=True, slots=True)
class Place:
    """Times in ms UTC; see `why.Queue`."""

    next_retry: int | None
    ahead_batches: int
    ahead_items: int
    paused_by: str | None
    processor: str
    definition: str | None
    adaptive: int | None = None
    host: str = ""
    folder: str | None = None
    outages: tuple[tuple[str, int], ...] = ()
    running: int = 0


@again
def place_of(views: Views, no: int) -> Place:
    """Where a batch stands. Other organizations' batches are not counted where only one was asked for."""
    org = views.org
    with views.engine.read() as tx:
        now = views.engine.now()
        about = {"no": no, "org": views.org, "now": now}
        ahead = tx.one("view_ahead_batches", about) or (0, 0)
        row = tx.dicts("view_batch_gate", {"no": no})[0]
        return Place(
            next_retry=tx.value("view_next_retry", {"no": no}),
            ahead_batches=ahead[0],
            ahead_items=ahead[1],
            paused_by=tx.value("view_last_pause", {"no": no}),
            processor=row["processor"],
            definition=row["definition"],
            adaptive=adaptive_limit(tx, row["processor"]),
            outages=tuple((one.origin, one.since) for one in outages(tx, now, row["processor"], org=org)),
            running=0 if org is not None else tx.value("held_of_processor", {"processor": row["processor"]}),
            host=row["host"],
            folder=row["folder"],
        )


def adaptive_limit(tx: Tx, processor: str) -> int | None:
    """How many items of a processor with `concurrency: auto` may run at once now; None where that was never used."""
    known: dict[str, int] = {name: limit for name, limit in tx.all("adaptive_limits")}  # noqa: C416 - typed
    return known.get(processor)


@again
def item_row(views: Views, number: int) -> dict[str, Any]:
    """The plain facts of an item: batch_no, started_at, next_attempt_at, suspect, cancel_requested, ahead."""
    with views.engine.read() as tx:
        row = tx.dicts("view_item_facts", {"id": number})[0]
        ahead = tx.value("view_ahead_in_batch", {"no": row["batch_no"], "id": number})
        return row | {"ahead": ahead}
