"""`workers`: who is alive, and what each holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.engines.again import snapshot
from batchctl.store import Store
from batchctl.views.times import iso, ms_of

_COLUMNS = [
    console.Column("worker"),
    console.Column("state", style=lambda text: {"alive": "green", "frozen": "yellow"}.get(text, "red")),
    console.Column("host", rank=3, gives=True),
    console.Column("pid", right=True),
    console.Column("command", rank=6),
    console.Column("slots", right=True, rank=5),
    console.Column("since", rank=2),
    console.Column("seen", rank=4),
    console.Column("holds", gives=True, rank=1),
]
_NAMED = 3


def register(app: typer.Typer) -> None:
    app.command("workers")(workers)


def workers(ctx: typer.Context) -> None:
    """Show who drains this store: host, pid, since when, when last seen, and the items that each holds."""
    shared = globals_of(ctx)
    store = shared.store_or_none()
    found = known_workers(shared, store) if store is not None else []
    if shared.json:
        console.emit_json({"workers": found})
    elif found:
        console.table(_COLUMNS, [_row(one) for one in found])
    elif store is not None:
        console.note("no worker; `batchctl run` starts one")


def known_workers(shared: Globals, store: Store) -> list[dict[str, Any]]:
    """Every worker with its `state` (alive, dead, rebooted, frozen) and the items that it holds."""
    from batchctl.recovery import health

    where = {"org": shared.organization}
    rows, items = snapshot(store.engine, lambda tx: (tx.dicts("view_workers"), tx.dicts("view_held", where)))
    held: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        held.setdefault(item["worker_id"], []).append(_held(item))
    return [_worker(row, health(store.engine, row).value, held.get(row["id"], [])) for row in rows]


def _held(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": item["id"],
        "batch_id": item["batch_id"],
        "key": item["key"],
        "started_at": iso(item["started_at"]),
        "progress": item["progress"],
    }


def _worker(row: Mapping[str, Any], state: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "state": state,
        "alive": state == "alive",
        "host": row["host"],
        "pid": row["pid"],
        "command": row["command"],
        "concurrency": row["concurrency"],
        "processors": json.loads(row["processors"]),
        "roots": json.loads(row["roots"]),
        "started_at": iso(row["started_at"]),
        "seen_at": iso(row["seen_at"]),
        "items": items,
    }


def _row(one: Mapping[str, Any]) -> list[object]:
    items = one["items"]
    names = ", ".join(item["key"] for item in items[:_NAMED])
    more = ", …" if len(items) > _NAMED else ""
    return [
        one["id"],
        one["state"],
        one["host"],
        one["pid"],
        one["command"],
        one["concurrency"],
        console.when(ms_of(one["started_at"])),
        console.when(ms_of(one["seen_at"])),
        f"{len(items)}: {names}{more}" if items else "nothing",
    ]
