"""`errors`: failures grouped by pattern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.engines.again import snapshot
from batchctl.engines.base import Tx
from batchctl.errors import InvalidInput
from batchctl.patterns import Group
from batchctl.views import resolve_batches
from batchctl.views.failures import failure_groups

_FORMATS = ("table", "json", "markdown", "github")


def register(app: typer.Typer) -> None:
    app.command("errors")(errors)


def errors(
    ctx: typer.Context,
    batch: Annotated[str | None, typer.Argument(metavar="[BATCH]", help="Whose failures; default: all.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="F", help=f"{', '.join(_FORMATS)}.")] = "table",
) -> None:
    """Show failures grouped by pattern (numbers, ids, paths folded), most frequent first."""
    shared = globals_of(ctx)
    if form not in _FORMATS:
        raise InvalidInput(f"--format: there is no format {form!r}", hint=f"one of {', '.join(_FORMATS)}")
    shared.only_json(form)
    store = shared.existing_store(batch) if batch is not None else shared.store_or_none()
    groups: list[Group] = []
    if store is not None:
        views = shared.views(store)

        def ask(tx: Tx) -> list[Group]:
            nos = None if batch is None else resolve_batches(tx, batch, shared.organization)
            return failure_groups(views, nos)

        groups = snapshot(store.engine, ask)
    if shared.json or form == "json":
        console.emit_json({"errors": [_json(group) for group in groups], "failed_items": _total(groups)})
    elif not groups:
        console.note("no failures") if store is not None else None
    else:
        {"table": _table, "markdown": _markdown, "github": _github}[form](groups)


def _total(groups: Sequence[Group]) -> int:
    return sum(group.count for group in groups)


def _json(group: Group) -> dict[str, Any]:
    example = group.example
    return {
        "count": group.count,
        "type": group.type,
        "pattern": group.pattern,
        "example": {
            "id": example.item,
            "batch_id": example.batch,
            "key": example.key,
            "message": example.message,
            "permanent": example.permanent,
        },
        "keys": group.keys,
    }


def _table(groups: Sequence[Group]) -> None:
    columns = [
        console.Column("count", right=True),
        console.Column("type", style=lambda _: "red", rank=1),
        console.Column("pattern", gives=True),
        console.Column("example", gives=True, rank=2),
    ]
    rows = [
        [console.number(group.count), group.type, group.pattern, f"{group.example.item} {group.example.key}"]
        for group in groups
    ]
    console.table(columns, rows)
    what = console.plural(_total(groups), "failed item")
    console.note(f"{what}, {console.plural(len(groups), 'pattern')}; `batchctl show ITEM` shows an example whole")


def _markdown(groups: Sequence[Group]) -> None:
    console.out("| Count | Type | Pattern | Example |")
    console.out("| ---: | --- | --- | --- |")
    for group in groups:
        example = f"{group.example.item} {group.example.key}: {group.example.message}"
        cells = [console.number(group.count), group.type, group.pattern, example]
        console.out(f"| {' | '.join(_cell(cell) for cell in cells)} |")


def _cell(text: str) -> str:
    from batchctl.export.markdown import escaped

    return escaped(text)


def _github(groups: Sequence[Group]) -> None:
    """Workflow commands: GitHub shows them as annotations of the run."""
    for group in groups:
        title = _property(f"{group.type}, {console.plural(group.count, 'item')}")
        keys = ", ".join(group.keys[:3])
        console.out(f"::error title={title}::{_data(f'{group.pattern} (for example {keys})')}")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
