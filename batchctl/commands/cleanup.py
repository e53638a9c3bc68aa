"""`cleanup`: finished batches past their rule go, and files that nobody owns."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchctl import console, duration, reserve
from batchctl.commands.common import Globals, confirm, globals_of
from batchctl.errors import InvalidInput, StoreFull, UsageError

if TYPE_CHECKING:
    from batchctl.retention import Cleaned
    from batchctl.store import Store

_SHOWN = 20


def register(app: typer.Typer) -> None:
    app.command("cleanup")(cleanup)


def cleanup(
    ctx: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Every batch that ended so long ago: 30d, 12h; instead of check.retention."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete finished batches past retention with all they have, and files that nobody owns any more.

    The rules are `check: retention:` in the config, or --older-than. What --skip-known remembers and what `stats`
    counts stays. Other commands go on meanwhile.
    """
    shared = globals_of(ctx)
    age = _age(older_than)
    config = shared.config()
    from batchctl import retention

    kept = retention.rules(config.check.retention, age)
    if not kept:
        raise UsageError(
            "there is no rule that says what may go",
            hint="name an age with --older-than 30d, or set check.retention in the config",
        )
    store = _opened(shared)
    if store is None:
        _answer(shared, retention.Cleaned(), [], dry_run=dry_run)
        return
    going = list(retention.expired(store.engine, kept, shared.organization))
    if not dry_run:
        if going:
            confirm(_question(going), yes=yes)
        done = retention.clean(store, config, older_than=age, org=shared.organization)
    else:
        done = retention.clean(store, config, older_than=age, org=shared.organization, dry_run=True)
    _answer(shared, done, going, dry_run=dry_run)
    _say_never(config.check.retention, age)


def _age(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return duration.age(text)
    except ValueError as error:
        raise InvalidInput(f"--older-than: {error}") from None


def _opened(shared: Globals) -> Store | None:
    """The store; where its disk is so full that it cannot even be opened, what was kept for this is given up."""
    try:
        return shared.store_or_none()
    except StoreFull:
        url = shared.target().removeprefix("sqlite://")
        if "://" in url or not reserve.give_up(Path(f"{url}.run")):
            raise
        return shared.store_or_none()


def _question(going: list[dict[str, Any]]) -> str:
    items = sum(row["total_items"] for row in going)
    return (
        f"Delete {console.plural(len(going), 'batch', 'batches')} with {console.plural(items, 'item')}, "
        "their results and their history?"
    )


def _answer(shared: Globals, done: Cleaned, going: list[dict[str, Any]], *, dry_run: bool) -> None:
    if shared.json:
        console.emit_json(_json(done, going, dry_run=dry_run))
        return
    if dry_run and going:
        _table(going[:_SHOWN])
    would = "would go" if dry_run else "deleted"
    parts = [
        console.plural(done.batches, "batch", "batches"),
        console.plural(done.items, "item"),
        *([console.plural(done.files, "orphaned file")] if done.files else []),
    ]
    freed = f"; {_size(done.bytes)} given back to the disk" if done.bytes else ""
    console.note(f"{would}: {', '.join(parts)}{freed}")


def _table(rows: Iterable[dict[str, Any]]) -> None:
    columns = [
        console.Column("batch"),
        console.Column("name", gives=True, rank=1),
        console.Column("processor", gives=True, rank=2),
        console.Column("status", style=console.state_style),
        console.Column("items", right=True),
        console.Column("ended"),
    ]
    console.table(
        columns,
        [
            [
                row["id"],
                row["name"],
                row["processor"],
                row["status"],
                console.number(row["total_items"]),
                console.when(row["completed_at"]),
            ]
            for row in rows
        ],
    )


def _json(done: Cleaned, going: list[dict[str, Any]], *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "deleted_batches": done.batches,
        "deleted_items": done.items,
        "deleted_files": done.files,
        "deleted_uploads": done.uploads,
        "freed_bytes": done.bytes,
        "batches": [row["id"] for row in going],
    }


def _say_never(retention: dict[str, float | None] | Any, age: float | None) -> None:
    never = [state for state, kept in retention.items() if kept is None]
    if age is not None and never:
        console.note(f"{', '.join(never)} batches stay: check.retention says `never`")


def _size(count: int) -> str:
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
