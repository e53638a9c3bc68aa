"""`cancel`: end batches or items; running work is told, and we wait a little to say how it ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import Globals, confirm, globals_of
from batchctl.commands.targets import Targets, resolve_all
from batchctl.commands.workers import known_workers
from batchctl.engines.again import snapshot
from batchctl.store import Store
from batchctl.views import Views

_PATIENCE = 5.0
_LOOK = 0.1
_ASK_ABOUT = 1  # a single item needs no second thought
_LISTED = 20


def register(app: typer.Typer) -> None:
    app.command("cancel")(cancel)


def cancel(
    ctx: typer.Context,
    what: Annotated[list[str], typer.Argument(metavar="BATCH|ITEM...", help="Batches, or items (number, BATCH/KEY).")],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Cancel batches or items.

    What waits ends at once. Running work is told; the command waits up to 5 s and says how each ended.
    """
    shared = globals_of(ctx)
    store = shared.existing_store(what[0])
    targets = snapshot(store.engine, lambda tx: resolve_all(tx, what, shared.organization))
    views = shared.views(store)
    _agree(views, targets, yes=yes)
    running = _running(views, targets)
    ended = _cancel(store, targets, shared.user)
    alive = {worker["id"] for worker in known_workers(shared, store) if worker["alive"]}
    _wait(views, running, alive)
    _answer(shared, views, targets, ended, running, alive)


def _agree(views: Views, targets: Targets, *, yes: bool) -> None:
    batches = views.batches_of(targets.batch_nos)
    left = sum(batch["total_items"] - batch["processed_items"] for batch in batches)
    count = left + sum(len(ids) for ids in targets.items.values())
    if left and count > _ASK_ABOUT:
        confirm(f"Cancel {console.plural(count, 'item')}?", yes=yes)


def _running(views: Views, targets: Targets) -> list[int]:
    held = [item["id"] for no in targets.batch_nos for item in views.items(no, "processing")]
    named = [number for ids in targets.items.values() for number in ids]
    return held + [number for number in named if views.item(number)["state"] == "processing"]


def _cancel(store: Store, targets: Targets, actor: str) -> int:
    ended = sum(store.cancel_batch(no, actor) for no in targets.batch_nos)
    numbers = [number for ids in targets.items.values() for number in ids]
    return ended + (store.cancel_items(numbers, actor) if numbers else 0)


def _wait(views: Views, running: Iterable[int], alive: Collection[str]) -> None:
    end = time.monotonic() + _PATIENCE
    left = list(running)
    while left and time.monotonic() < end:
        left = [number for number in left if views.holder(number) in alive]
        if left:
            time.sleep(_LOOK)


def _answer(
    shared: Globals, views: Views, targets: Targets, ended: int, running: list[int], alive: Collection[str]
) -> None:
    items = [views.item(number) for number in running]
    batches = views.batches_of(targets.all_batch_nos)
    if shared.json:
        told = [{"id": item["id"], "key": item["key"], "state": item["state"]} for item in items]
        cancelled = ended + sum(item["state"] == "cancelled" for item in items)
        console.emit_json({"cancelled_items": cancelled, "running": told, "batches": batches})
        return
    for item in items[:_LISTED]:
        console.out(f"{item['id']}  {item['key']}: {_ending(item, alive)}")
    if len(items) > _LISTED:
        console.note(f"and {len(items) - _LISTED} more that were running")
    if not ended and not items:
        console.note("nothing to cancel: all of it had ended")
        return
    console.note(f"cancelled {console.plural(ended, 'item')} that waited" if ended else "nothing was waiting")


def _ending(item: dict[str, Any], alive: Collection[str]) -> str:
    if item["state"] == "processing":
        known = item["worker"] in alive
        return "still running; its worker has been told" if known else "its worker is gone; the next run ends it"
    return f"was running, {item['state']}"
