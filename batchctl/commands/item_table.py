"""Items as a table, for `show` and `find`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchctl import console
from batchctl.views.times import ms_of


def item_table(items: Sequence[dict[str, Any]], *, batches: bool = False) -> None:
    """Print items, one a line; with `batches` also which batch each is in."""
    columns = [
        console.Column("item", right=True),
        *([console.Column("batch", rank=2)] if batches else []),
        console.Column("key", gives=True),
        console.Column("state", style=console.state_style),
        console.Column("tries", right=True, rank=3),
        console.Column("time", right=True, rank=4),
        console.Column("note", gives=True, rank=1),
    ]
    console.table(columns, [_row(item, batches=batches) for item in items])


def state_of(item: dict[str, Any]) -> str:
    """ "waiting (retry)", "processing"."""
    return f"{item['state']} ({item['waiting_for']})" if item["waiting_for"] else str(item["state"])


def _row(item: dict[str, Any], *, batches: bool) -> list[object]:
    tries = f"{item['attempts']}/{item['max_attempts']}" if item["max_attempts"] else item["attempts"]
    return [
        item["id"],
        *([item["batch_id"]] if batches else []),
        item["key"],
        state_of(item),
        tries,
        console.span(item["duration_ms"]),
        _note(item),
    ]


def _note(item: dict[str, Any]) -> str:
    if item["error"]:
        due = f"again at {console.when(ms_of(item['next_attempt_at']))}: " if item["next_attempt_at"] else ""
        return f"{due}{item['error']['type']}: {item['error']['message']}"
    if item["progress"] is not None:
        return f"{item['progress']:.0f}%"
    return ""
