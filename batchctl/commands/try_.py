"""`try`: one item now, with everything shown and nothing stored."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.errors import InvalidInput

if TYPE_CHECKING:
    from batchctl.commands.enqueue_wanted import Wanted
    from batchctl.commands.trial import Tried
    from batchctl.config.structs import ProcessorConfig
    from batchctl.intake.target import Target
    from batchctl.model import Incoming, Kept

_ORDERS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xlsx")
_FILE_ONLY = ("path", "stem", "suffix", "dir", "sha256")


class Kind(StrEnum):
    """What the source is: work itself, or a list of it."""

    FILES = "files"
    ORDERS = "orders"


def register(app: typer.Typer) -> None:
    app.command("try")(try_)


def try_(
    ctx: typer.Context,
    processor: Annotated[str, typer.Argument(metavar="PROCESSOR", help="What is done.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, or orders; - is standard input.")],
    row: Annotated[int, typer.Option(min=1, metavar="N", help="Which record of the orders.")] = 1,
    kind: Annotated[
        Kind | None, typer.Option(help="What SOURCE is; by default found out from the processor and the name.")
    ] = None,
) -> int:
    """Do one item now, show the request or command, the answer and the result. Stores nothing.

    Exit code: 0 it was completed, 1 it was not.
    """
    from batchctl.commands.trial import Terminated, run_once
    from batchctl.intake.preview import item_of, preview
    from batchctl.intake.target import named
    from batchctl.model import BatchKind, NewBatch

    shared = globals_of(ctx)
    config = shared.config()
    target = named(config, processor, shared.organization)
    if target.config.problems:
        raise InvalidInput(f"{processor} cannot run here", details=target.config.problems, hint="mend the config")
    chosen = kind or kind_of(target.config, source)
    new = NewBatch(BatchKind(chosen.value), target.name, organization=shared.organization, user=shared.user)
    item = item_of(_incoming(target, source, row, chosen), new)
    shown = config.masker.value(preview(target.config, item, config.secrets))
    if not shared.json:
        _show_preview(shown)
    try:
        tried = run_once(config, target.config, item)
    except Terminated as end:
        return int(end.args[0])
    answer = config.masker.value(_document(target.name, item.key, shown, tried))
    if shared.json:
        console.emit_json(answer)
    else:
        _show(answer, retried=target.config.max_retries > 0)
    return 0 if answer["state"] == "completed" else 1


def kind_of(config: ProcessorConfig, source: str) -> Kind:
    """Files where the processor speaks of files or the source is no kind of list; else orders."""
    from batchctl.intake.checks import templates_of

    needs = {name for template in templates_of(config) for name in template.missing({}, ())}
    if config.accept.types or config.accept.max_file_size is not None or needs & set(_FILE_ONLY):
        return Kind.FILES
    listed = source == "-" or PurePath(source).suffix.lower() in _ORDERS or not Path(source).is_file()
    return Kind.ORDERS if listed else Kind.FILES


def _incoming(target: Target, source: str, row: int, kind: Kind) -> Incoming:
    """The item. Raises InvalidInput: it can't be read, lacks something, or there are fewer records."""
    from batchctl.commands.enqueue_wanted import WantedFiles, WantedOrders
    from batchctl.intake.problems import Problems

    problems = Problems()
    wanted: Wanted = WantedFiles((source,)) if kind is Kind.FILES else WantedOrders((source,))
    found = next(islice(wanted.items(target, problems), row - 1, row), None)
    if found is not None and found.position == row:
        return found
    if problems:
        raise InvalidInput(f"{source}: item {row} cannot be taken", details=problems.details())
    raise InvalidInput(f"{source}: there is no item {row}")


def _document(name: str, key: str, shown: dict[str, Any], tried: Tried) -> dict[str, Any]:
    from batchctl.model import Completed

    outcome = tried.outcome
    error = getattr(outcome, "error", None)
    return {
        "processor": name,
        "key": key,
        "preview": shown,
        "state": type(outcome).__name__.lower(),
        "result": outcome.result if isinstance(outcome, Completed) else None,
        "error": error and {"type": error.type, "message": error.message, "permanent": error.permanent},
        "usage": outcome.usage if isinstance(outcome, Completed) else None,
        "steps": [_step(kept) for kept in tried.kept] or None,
        "log": tried.log,
        "duration_ms": tried.duration_ms,
    }


def _step(kept: Kept) -> dict[str, Any]:
    """What a step came to."""
    from msgspec.json import decode

    error = kept.error and {"type": kept.error.type, "message": kept.error.message}
    return {
        "name": kept.step,
        "path": str(kept.path),
        "finished": kept.finished,
        "result": decode(kept.result) if kept.result else None,
        "error": error,
    }


def _show_steps(steps: list[dict[str, Any]]) -> None:
    for step in steps:
        console.out()
        if step["finished"]:
            console.title(f"Step {step['name']}" + (", by its fallback" if step["path"] == "fallback" else ""))
            console.out(console.json_text(step["result"], indent=2))
        else:
            console.title(f"Step {step['name']} gave up; its fallback is tried")
            console.out(f"{step['error']['type']}: {step['error']['message']}")


def _show_preview(shown: dict[str, Any]) -> None:
    from batchctl.intake.preview import lines

    for line in lines(shown):
        console.out(line)


def _show(answer: dict[str, Any], *, retried: bool) -> None:
    if answer["log"]:
        console.out()
        console.title("What it wrote")
        console.out(answer["log"].rstrip("\n"))
    _show_steps(answer["steps"] or [])
    console.out()
    if answer["state"] == "completed":
        console.title("Result")
        console.out(console.json_text(answer["result"], indent=2))
    else:
        error = answer["error"] or {"type": answer["state"], "message": "", "permanent": False}
        console.title("Error")
        console.out(f"{error['type']}: {error['message']}")
    meaning = {
        "completed": "completed",
        "failed": "failed; it would be tried again" if retried else "failed (max_retries is 0)",
        "broken": "the processor is at fault; its items would wait",
        "down": "the receiver is down; the items would wait",
    }
    permanent = bool(answer["error"] and answer["error"]["permanent"])
    word = "failed for good" if permanent and answer["state"] == "failed" else meaning.get(answer["state"])
    console.note(f"{word or answer['state']}; it took {console.span(answer['duration_ms'])}, nothing was stored")
