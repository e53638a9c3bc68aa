"""`resume`: let paused work go on, and a broken processor try again."""

from __future__ import annotations

from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.commands.gates import Gates, chosen


def register(app: typer.Typer) -> None:
    app.command("resume")(resume)


def resume(
    ctx: typer.Context,
    batches: Annotated[list[str] | None, typer.Argument(metavar="[BATCH]...", help="Which batches.")] = None,
    processor: Annotated[
        str | None, typer.Option(metavar="P", help="All work for this processor, also if it was broken.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything (with --org: its batches).")] = False,
) -> None:
    """Let paused batches, a processor, or everything go on."""
    shared = globals_of(ctx)
    gates = chosen(shared, batches, processor, everything=everything)
    changed = _resume(gates, shared.user)
    if shared.json:
        views = shared.views(gates.store)
        answer = {"resumed": gates.what, "changed": changed}
        console.emit_json(answer | {"batches": views.batches_of(gates.batch_nos or [])})
    elif changed:
        console.note(f"resumed {gates.what}")
    else:
        console.note(f"nothing to resume: {gates.what} was not paused")


def _resume(gates: Gates, actor: str) -> int:
    if gates.batch_nos is not None:
        return gates.store.resume(gates.batch_nos, actor)
    return int(gates.store.resume_processor(gates.processor, actor))
