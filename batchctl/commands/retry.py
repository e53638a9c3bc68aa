"""`retry`: failed items go back with fresh attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.commands.retry_input import new_payloads, reread_files
from batchctl.commands.targets import Targets, resolve_all
from batchctl.engines.again import again
from batchctl.errors import UsageError
from batchctl.store import Store
from batchctl.views import storable


def register(app: typer.Typer) -> None:
    app.command("retry")(retry)


@dataclass(frozen=True)
class Pick:
    """Which of the named batches' items go back, and how."""

    cancelled: bool
    error: str | None
    lane: str | None
    from_start: bool

    @property
    def states(self) -> tuple[str, ...]:
        return ("failed", "cancelled") if self.cancelled else ("failed",)


def retry(
    ctx: typer.Context,
    what: Annotated[list[str] | None, typer.Argument(metavar="[BATCH|ITEM]...", help="Batches or items.")] = None,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="All failed items: of what is named, else of every batch.")
    ] = False,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Cancelled items as well.")] = False,
    error: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only items whose error contains this text.")
    ] = None,
    lane: Annotated[str | None, typer.Option(metavar="A", help="Only items of this lane.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Corrected orders: replaces the payload of items with the same keys."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FIELD", help="With --data: the key's fields.")] = None,
    reread: Annotated[bool, typer.Option("--reread", help="Accept files as they are now.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Do finished steps again, too.")] = False,
    run: Annotated[bool, typer.Option("--run", help="Drain them right away.")] = False,
) -> int:
    """Send failed items back with fresh attempts; a finished batch opens again.

    With --data FILE only the items whose keys are in FILE go back, with the payload from there.
    """
    shared = globals_of(ctx)
    if not what and not all_failed:
        raise UsageError("name batches or items, or --all-failed", hint="`batchctl list` shows what there is")
    if data is not None and (reread or not what):
        raise UsageError("--data goes with batches, not with --reread or with --all-failed alone")
    store = shared.existing_store(what[0] if what else "--all-failed")
    targets = _targets(shared, store, what or [])
    pick = Pick(cancelled, _stored(error), _stored(lane), from_start)
    counts = _send_back(shared, store, targets, pick, data=data, key=key, reread=reread)
    return _finish(shared, store, counts, run=run)


def _stored(text: str | None) -> str | None:
    return None if text is None else storable(text)


@again
def _targets(shared: Globals, store: Store, names: list[str]) -> Targets:
    with store.engine.read() as tx:
        if names:
            return resolve_all(tx, names, shared.organization)
        rows = tx.all("view_batches_with_failures", {"org": shared.organization})
        return Targets(batch_nos=[row[0] for row in reversed(rows)])


def _send_back(
    shared: Globals, store: Store, targets: Targets, pick: Pick, *, data: str | None, key: str | None, reread: bool
) -> dict[int, int]:
    """How many items went back, by batch. All input is read and checked before the first change."""
    nos = targets.all_batch_nos
    payloads = None if data is None else new_payloads(shared, store, nos, data, key)
    files = reread_files(store, targets, pick.states) if reread else None
    counts = {}
    for no in nos:
        counts[no] = store.retry(
            no,
            shared.user,
            states=pick.states,
            item_ids=targets.items.get(no),
            error=pick.error,
            lane=pick.lane,
            payloads=payloads,
            files=files,
            from_start=pick.from_start,
        )
    return counts


def _finish(shared: Globals, store: Store, counts: dict[int, int], *, run: bool) -> int:
    total = sum(counts.values())
    views = shared.views(store)
    changed = [no for no, count in counts.items() if count]
    if run and changed:
        from batchctl.commands.drain import RunOptions, run_batches

        console.note(f"{console.plural(total, 'item')} went back into the queue")
        return run_batches(shared, changed, RunOptions(), also=lambda _: {"retried_items": total})
    if shared.json:
        console.emit_json({"retried_items": total, "batches": views.batches_of(counts)})
    elif not total:
        console.note("nothing to retry: no item fits")
    else:
        console.note(f"{console.plural(total, 'item')} went back into the queue; next: batchctl run")
    return 0
