"""`results`: what came out of a batch."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.commands.output import is_replaced, target
from batchctl.engines.again import again
from batchctl.errors import InvalidInput
from batchctl.export import FORMATS, Source, write
from batchctl.views import resolve_batches
from batchctl.views.batches import STATES
from batchctl.views.results import result_rows


def register(app: typer.Typer) -> None:
    app.command("results")(results)


def results(
    ctx: typer.Context,
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="Whose results.")],
    form: Annotated[str | None, typer.Option("--format", metavar="F", help=f"{', '.join(FORMATS)}.")] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write this file, whole or not at all.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only these; default: completed and failed.")
    ] = None,
) -> None:
    """Write a batch's results in input order, to standard output or a file."""
    shared = globals_of(ctx)
    name = _format(form, output, json=shared.json)
    to_file = output not in (None, "-")
    if not to_file:
        shared.only_json(form)
    states = _states(status)
    if name == "xlsx" and output in (None, "-") and console.is_terminal(sys.stdout):
        raise InvalidInput("an XLSX file is no text for a terminal", hint="name a file with -o FILE")
    store = shared.existing_store(batch)
    views = shared.views(store)

    def export() -> None:
        with store.engine.read() as tx:
            nos = resolve_batches(tx, batch, shared.organization)
            found = zip(views.batches_of(nos), nos, strict=True)
            sources = [Source(one, partial(result_rows, views, no, states)) for one, no in found]
            with target(output) as out:
                write(name, out, sources)

    (again(export) if is_replaced(output) else export)()
    if to_file and shared.json:
        console.emit_json({"file": str(Path(output or "").absolute()), "format": name})
    elif to_file:
        console.note(f"wrote {output}")


def _format(form: str | None, output: str | None, *, json: bool) -> str:
    """What was asked for, else what the file's name says, else JSON Lines."""
    endings = {".json": "json", ".csv": "csv", ".xlsx": "xlsx", ".md": "markdown", ".xml": "junit"}
    default = endings.get(Path(output or "").suffix.lower(), "json" if json else "jsonl")
    name = form or default
    if name not in FORMATS:
        raise InvalidInput(f"--format: there is no format {name!r}", hint=f"one of {', '.join(FORMATS)}")
    return name


def _states(given: list[str] | None) -> list[str]:
    if not given:
        return ["completed", "failed"]
    words = [word for text in given for word in text.split(",") if word]
    unknown = [word for word in words if word not in (*STATES, "all")]
    if unknown:
        hint = f"one of {', '.join(STATES)} or all"
        raise InvalidInput(f"--status: there is no state {unknown[0]!r}", hint=hint)
    return list(STATES) if "all" in words else words
