"""`find`: items by what identifies them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import globals_of, moment
from batchctl.commands.item_table import item_table


def register(app: typer.Typer) -> None:
    app.command("find")(find)


def find(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The whole key, or the whole value of a payload field.")],
    field: Annotated[str | None, typer.Option(metavar="F", help="Look only at this payload field.")] = None,
    since: Annotated[str | None, typer.Option(metavar="T", help="Only in batches made since: 24h, a date.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 100,
) -> None:
    """Find items whose key or payload field is TEXT, in all batches, newest first."""
    shared = globals_of(ctx)
    start = moment(since, "--since", past=True)
    store = shared.store_or_none()
    found: list[dict[str, Any]] = []
    if store is not None:
        found = shared.views(store).find(text, field=field, since=start, limit=limit + 1)
    more, found = len(found) > limit, found[:limit]
    if shared.json:
        console.emit_json({"items": found})
    elif found:
        item_table(found, batches=True)
    elif store is not None:
        console.note("no item fits")
    if more:
        console.note(f"these are the newest {limit}; there are more, see --limit")
