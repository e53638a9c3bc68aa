"""`history`: the audit trail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.engines.again import snapshot
from batchctl.engines.base import Tx
from batchctl.views import resolve_target
from batchctl.views.items import error_json
from batchctl.views.times import iso, ms_of

_TIMES = ("until", "not_before")


def register(app: typer.Typer) -> None:
    app.command("history")(history)


def history(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="BATCH|ITEM", help="A batch, or an item (its number or BATCH/KEY).")],
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of a batch at most so many attempts, the newest.")
    ] = 1000,
) -> None:
    """Show what happened to a batch or item: who enqueued it, each attempt, retry, pause, cancel and recovery."""
    shared = globals_of(ctx)
    store = shared.existing_store(what)

    def ask(tx: Tx) -> tuple[list[dict[str, Any]], bool]:
        target = resolve_target(tx, what, shared.organization)
        if target.item_id is not None:
            no = tx.value("view_item_batch", {"id": target.item_id})
            return tx.dicts("view_history_of_item", {"no": no, "id": target.item_id}), False
        return _newest([row for no in target.batch_nos for row in _of_batch(tx, no, limit + 1)], limit)

    rows, more = snapshot(store.engine, ask)
    found = [_entry(row) for row in rows]
    if shared.json:
        console.emit_json({"history": found})
        return
    for entry in found:
        console.out(_line(entry))
    if more:
        console.note(f"only the newest {console.plural(limit, 'attempt')}; there are more, see --limit")


def _of_batch(tx: Tx, no: int, limit: int) -> list[dict[str, Any]]:
    first, last = tx.one("view_item_range", {"batch_no": no}) or (None, None)
    return tx.dicts("view_history_of_batch", {"no": no, "first": first, "last": last, "limit": limit})


def _newest(rows: list[dict[str, Any]], limit: int) -> tuple[list[dict[str, Any]], bool]:
    """All events, the newest `limit` attempts, and whether there were more."""
    attempts = sum(row["claim_no"] is not None for row in rows)
    over = iter(range(max(0, attempts - limit)))
    return [row for row in rows if row["claim_no"] is None or next(over, None) is None], attempts > limit


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": iso(row["at"]),
        "event": row["event"] if row["claim_no"] is None else "attempt",
        "outcome": None if row["claim_no"] is None else row["event"],
        "actor": row["actor"],
        "item_id": row["item_id"],
        "count": row["count"],
        "attempt": row["claim_no"],
        "worker": row["worker_id"],
        "error": error_json(row["error_type"], row["error_message"], bool(row["permanent"])),
        "detail": None if row["detail"] is None else _timed(json.loads(row["detail"])),
    }


def _timed(detail: dict[str, Any]) -> dict[str, Any]:
    """Times as people and programs read them, not as the store does."""
    return {name: iso(value) if name in _TIMES else value for name, value in detail.items()}


def _line(entry: Mapping[str, Any]) -> str:
    """ "2026-03-01 10:00:02  item 7  attempt 1: failed on w1a2…: NotFound: no such customer"."""
    item = f"item {entry['item_id']}  " if entry["item_id"] is not None else ""
    return f"{console.when(ms_of(entry['at']))}  {item}{_what(entry)}"


def _what(entry: Mapping[str, Any]) -> str:
    if entry["event"] == "attempt":
        error = entry["error"]
        why = f": {error['type']}: {error['message'].strip().partition(chr(10))[0]}" if error else ""
        return f"attempt {entry['attempt']}: {entry['outcome']} on {entry['worker']}{why}"
    if entry["event"] == "step":
        return _step(entry["detail"], entry["error"])
    who = f" by {entry['actor']}" if entry["actor"] else ""
    count = f", {console.plural(entry['count'], 'item')}" if entry["count"] is not None else ""
    return f"{entry['event']}{who}{count}{_detail(entry['detail'])}"


def _step(step: Mapping[str, Any], error: Mapping[str, Any] | None) -> str:
    """ "step ocr: done", or what became of it and its fallback."""
    why = f" ({error['type']}: {error['message'].strip().partition(chr(10))[0]})" if error else ""
    if step["path"] == "step":
        return f"step {step['step']}: done"
    if step["finished"]:
        return f"step {step['step']}: done by its fallback{why}"
    return f"step {step['step']}: gave up{why}, its fallback is next"


def _detail(detail: Mapping[str, Any] | None) -> str:
    shown = [f"{name} {_value(name, value)}" for name, value in (detail or {}).items() if _told(name, value)]
    return f" ({', '.join(shown)})" if shown else ""


def _told(name: str, value: Any) -> bool:
    return name == "not_before" or value not in (None, 0, "")


def _value(name: str, value: Any) -> str:
    if value is None:
        return "now"
    return console.when(ms_of(value)) if name in _TIMES else str(value)
