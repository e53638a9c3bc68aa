"""`set`: change a batch's priority, name or start time."""

from __future__ import annotations

from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import batch_name, globals_of, moment
from batchctl.commands.enqueue_options import PriorityName
from batchctl.commands.targets import batches_of
from batchctl.errors import UsageError
from batchctl.model import Priority
from batchctl.store import UNSET

_AT_ONCE = ("now", "none")


def register(app: typer.Typer) -> None:
    app.command("set")(set_batch)


def set_batch(
    ctx: typer.Context,
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="Which batch, or group of batches.")],
    priority: Annotated[PriorityName | None, typer.Option(help="Higher ones go first, strictly.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="A name for it.")] = None,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start then: 2026-03-01T02:00, 02:00, +2h; now lifts it.")
    ] = None,
) -> None:
    """Change a batch's priority, name or start time."""
    shared = globals_of(ctx)
    if priority is None and name is None and not_before is None:
        raise UsageError("nothing to change", hint="give --priority, --name or --not-before")
    batch_name(name)
    lifted = not_before in _AT_ONCE
    start = None if lifted else moment(not_before, "--not-before")
    store, nos = batches_of(shared, [batch])
    views = shared.views(store)
    ended = [one["id"] for one in views.batches_of(nos) if one["completed_at"] is not None]
    if ended and (priority is not None or not_before is not None):
        raise UsageError(f"batch {ended[0]} has ended: only its name can be changed")
    for no in nos:
        store.alter(
            no,
            shared.user,
            priority=None if priority is None else Priority[priority.name],
            name=name,
            not_before=UNSET if not_before is None else start,
        )
    changed = views.batches_of(nos)
    if shared.json:
        console.emit_json({"batch": changed[0]} if len(changed) == 1 else {"batches": changed})
    else:
        console.note(f"changed {', '.join(one['id'] for one in changed)}")
