"""`list`: the batches."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.alert_lines import show_open_alerts
from batchctl.commands.common import globals_of, moment
from batchctl.errors import InvalidInput
from batchctl.model import BatchStatus
from batchctl.views.times import ms_of

_COLUMNS = [
    console.Column("batch"),
    console.Column("name", gives=True, rank=1),
    console.Column("processor", gives=True, rank=5),
    console.Column("status", style=console.state_style),
    console.Column("items", right=True),
    console.Column("done", right=True, rank=2),
    console.Column("failed", right=True, rank=3, style=lambda text: "red" if text != "0" else None),
    console.Column("org", rank=7, gives=True),
    console.Column("user", rank=8, gives=True),
    console.Column("eta", right=True, rank=4),
    console.Column("created", rank=6),
]


def register(app: typer.Typer) -> None:
    app.command("list")(list_batches)


def list_batches(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="Only batches in this state; may be given again.")
    ] = None,
    processor: Annotated[str | None, typer.Option(metavar="P", help="Only batches for this processor.")] = None,
    since: Annotated[str | None, typer.Option(metavar="T", help="Only batches made since: 24h, 02:00, a date.")] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many.")] = 50,
    offset: Annotated[int, typer.Option(min=0, metavar="N", help="Leave out the first N.")] = 0,
) -> None:
    """Show the batches, newest first."""
    shared = globals_of(ctx)
    statuses = _statuses(status or [])
    start = moment(since, "--since", past=True)
    store = shared.store_or_none()
    found: list[dict[str, Any]] = []
    total = 0
    if store is not None:
        views = shared.views(store)
        found, total = views.list_batches(
            statuses=statuses, processor=processor, since=start, limit=limit, offset=offset
        )
    if shared.json:
        console.emit_json({"batches": found, "total": total})
        return
    if found:
        console.table(_COLUMNS, [_row(batch) for batch in found])
    if len(found) < total:
        console.note(f"{len(found)} of {console.plural(total, 'batch', 'batches')}; see --limit and --offset")
    elif store is not None and not found:
        console.note("no batches" if not (statuses or processor or since) else "no batch fits")
    if store is not None:
        show_open_alerts(shared, store)


def _statuses(given: list[str]) -> list[str]:
    wanted = [word for text in given for word in text.split(",") if word]
    known = [status.value for status in BatchStatus]
    unknown = [word for word in wanted if word not in known]
    if unknown:
        raise InvalidInput(f"--status: there is no state {unknown[0]!r}", hint=f"one of {', '.join(known)}")
    return wanted


def _row(batch: dict[str, Any]) -> list[object]:
    eta = batch["eta_seconds"]
    return [
        batch["id"],
        batch["name"],
        batch["processor"],
        "paused" if batch["paused"] and batch["completed_at"] is None else batch["status"],
        console.number(batch["total_items"]),
        console.number(batch["processed_items"]),
        console.number(batch["failed_items"]),
        batch["organization"],
        batch["user"],
        console.remaining(eta) if eta else None,
        console.when(ms_of(batch["created_at"])),
    ]
