"""`logs`: what an item wrote while it ran."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.engines.again import snapshot
from batchctl.errors import NotFound
from batchctl.views import Views, resolve_item
from batchctl.views.items import FINAL

_LOOK = 0.25
_OVERLAP = 200


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="ITEM", help="An item: its number, or BATCH/KEY.")],
    attempt: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only this attempt, as show counts.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the item has ended.")] = False,
) -> None:
    """Show what an item wrote: its standard error, its output where it failed, and the handler's log lines."""
    shared = globals_of(ctx)
    store = shared.existing_store(what)
    number = snapshot(store.engine, lambda tx: resolve_item(tx, what, shared.organization))
    views = shared.views(store)
    found = views.logs(number, attempt)
    if attempt is not None and not found and attempt not in [one["attempt"] for one in views.attempts(number)]:
        raise NotFound(f"item {number} has no attempt {attempt}")
    if shared.json:
        console.emit_json({"item_id": number, "logs": found})
    elif follow:
        _follow(views, number, attempt)
    else:
        _print(found, headed=attempt is None)
        if not found:
            console.note("it wrote nothing")


def _print(found: list[dict[str, Any]], *, headed: bool) -> None:
    for one in found:
        if headed and len(found) > 1:
            console.note(f"==> attempt {one['attempt']}")
        _write(one["text"] if one["text"].endswith("\n") else one["text"] + "\n")


def _follow(views: Views, number: int, attempt: int | None) -> None:
    """Print what is new until the item is final, or (with a past attempt) all of that attempt was seen."""
    seen: dict[int, str] = {}
    while True:
        final = views.state(number) in (*FINAL, None)  # before the logs: what is written last is still read
        for one in views.logs(number, attempt):
            before = seen.get(one["attempt"])
            if before is None and len(seen):
                console.note(f"==> attempt {one['attempt']}")
            _write(added(before or "", one["text"]))
            seen[one["attempt"]] = one["text"]
        sys.stdout.flush()
        if final:
            return
        time.sleep(_LOOK)


def added(before: str, now: str) -> str:
    """What `now` has more than `before`; of a log that is full only the tail is kept, so its start may be gone."""
    if now.startswith(before):
        return now[len(before) :]
    tail = before[-_OVERLAP:]
    at = now.rfind(tail)
    return now[at + len(tail) :] if at >= 0 else now


def _write(text: str) -> None:
    """As it is into a pipe; a screen is spared the control characters of strangers."""
    console.raw(console.safe(text, keep="\n\t") if console.is_terminal(sys.stdout) else text)
