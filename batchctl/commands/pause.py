"""`pause`: no new claims; what runs may finish."""

from __future__ import annotations

from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import globals_of, moment
from batchctl.commands.gates import Gates, chosen
from batchctl.errors import InvalidInput
from batchctl.store import EVERYTHING
from batchctl.views.times import iso


def register(app: typer.Typer) -> None:
    app.command("pause")(pause)


def pause(
    ctx: typer.Context,
    batches: Annotated[list[str] | None, typer.Argument(metavar="[BATCH]...", help="Which batches.")] = None,
    processor: Annotated[str | None, typer.Option(metavar="P", help="All work for this processor.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything (with --org: its batches).")] = False,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Goes on by itself then: +2h, 02:00.")] = None,
) -> None:
    """Pause batches, a processor, or everything: nothing new starts, what runs may finish."""
    shared = globals_of(ctx)
    end = moment(until, "--until")
    gates = chosen(shared, batches, processor, everything=everything)
    if end is not None and end <= gates.store.engine.now():
        raise InvalidInput(f"--until {until}: lies in the past")
    changed = _pause(gates, end, shared.user)
    views = shared.views(gates.store)
    if shared.json:
        answer = {"paused": gates.what, "until": iso(end), "changed": changed}
        console.emit_json(answer | {"batches": views.batches_of(gates.batch_nos or [])})
        return
    if gates.batch_nos is not None and not changed:
        console.note("nothing to pause: finished, or paused already")
        return
    until_text = f" until {console.when(end)}" if end else ""
    console.note(f"paused {gates.what}{until_text}; what runs may finish, `{_way_back(gates)}` lets it go on")


def _way_back(gates: Gates) -> str:
    if gates.batch_nos is not None:
        return f"batchctl resume {gates.what.replace(', ', ' ')}"
    return (
        "batchctl resume --all" if gates.processor == EVERYTHING else f"batchctl resume --processor {gates.processor}"
    )


def _pause(gates: Gates, end: int | None, actor: str) -> int:
    if gates.batch_nos is not None:
        return gates.store.pause(gates.batch_nos, end, actor)
    gates.store.pause_processor(gates.processor, end, actor)
    return 1
