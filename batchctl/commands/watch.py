"""`watch`: live progress of work that other processes do."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.commands.live import live_progress
from batchctl.engines.again import snapshot
from batchctl.errors import NotFound
from batchctl.views import Views, resolve_batches
from batchctl.views.gates import moves

_PAUSE = 0.2


def register(app: typer.Typer) -> None:
    app.command("watch")(watch)


def watch(
    ctx: typer.Context,
    batches: Annotated[list[str] | None, typer.Argument(metavar="[BATCH]...", help="Which; default: all.")] = None,
) -> int:
    """Show the progress of work that other processes do, until the batches end.

    The exit code is that of run: 0 all done, 1 some items failed, 3 only paused, scheduled or held work is left.
    """
    shared = globals_of(ctx)
    store = shared.existing_store(batches[0]) if batches else shared.store_or_none()
    begun = time.monotonic()
    if store is None:
        return _answer(shared, [], begun)
    views = shared.views(store)
    named: list[int] | None = None
    if batches:
        org = shared.organization
        named = snapshot(
            store.engine, lambda tx: sorted({no for text in batches for no in resolve_batches(tx, text, org)})
        )
    nos = set(named if named is not None else views.unfinished())
    with live_progress(store.engine.reader, named, shared.organization):
        _wait(views, nos, follow=named is None)
    return _answer(shared, _still_there(views, nos), begun)


def _wait(views: Views, nos: set[int], *, follow: bool) -> None:
    """Until every batch has ended, or nothing of the rest will move by itself. With `follow` new ones count too."""
    while True:
        unfinished = set(views.unfinished())
        if follow:
            nos |= unfinished
        if all(_stuck(views, no) for no in nos & unfinished):
            return
        time.sleep(_PAUSE)


def _stuck(views: Views, no: int) -> bool:
    """A closed gate keeps the batch until somebody opens it, and nothing of it runs any more."""
    try:
        gate = views.gate(no)
        return gate is not None and not moves(gate) and not views.batch(no)["processing_items"]
    except NotFound:  # cleanup took it
        return True


def _still_there(views: Views, nos: set[int]) -> list[dict[str, Any]]:
    found = []
    for no in sorted(nos):
        with contextlib.suppress(NotFound):
            found.append(views.batch(no))
    return found


def _answer(shared: Globals, batches: list[dict[str, Any]], begun: float) -> int:
    left = sum(batch["total_items"] - batch["processed_items"] for batch in batches)
    failed = sum(batch["failed_items"] for batch in batches)
    if shared.json:
        answer = {
            "completed": sum(batch["completed_items"] for batch in batches),
            "failed": failed,
            "unfinished_items": left,
            "batches": batches,
            "duration_ms": round((time.monotonic() - begun) * 1000),
        }
        console.emit_json(answer)
    if left:
        console.note(f"{console.plural(left, 'item')} left, all of it paused, scheduled or held: see `batchctl why`")
        return 3
    return 1 if failed else 0
