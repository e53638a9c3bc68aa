"""How `enqueue` answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchctl import console
from batchctl.commands.common import Globals
from batchctl.commands.enqueue_options import EnqueueOptions
from batchctl.intake.preview import lines
from batchctl.store import Loaded


def enqueued(shared: Globals, options: EnqueueOptions, loaded: Loaded) -> None:
    """The batches that are now in the queue. Under --run they are a remark, for the answer is the run's."""
    views = shared.views(shared.open_store()) if loaded.batch_nos else None
    batches = views.batches_of(loaded.batch_nos) if views else []
    if options.run and batches:
        _remark(batches, loaded, print_id=options.print_id and not shared.json)
    elif shared.json:
        console.emit_json(document(batches, loaded, options))
    elif options.print_id:
        for batch in batches:
            console.out(batch["id"])
    else:
        _say(batches, loaded)


def previewed(shared: Globals, processor: str, shown: Sequence[Mapping[str, Any]], count: int) -> None:
    """What --dry-run found: the first items as they would be sent, without secrets."""
    if shared.json:
        console.emit_json({"dry_run": True, "processor": processor, "total_items": count, "preview": list(shown)})
        return
    for number, each in enumerate(shown):
        if number:
            console.out()
        for line in lines(each):
            console.out(line)
    more = f", the first {len(shown)} are shown" if count > len(shown) else ""
    console.note(f"{console.plural(count, 'item')} for {processor} would be enqueued{more}; nothing was stored")


def document(batches: list[dict[str, Any]], loaded: Loaded, options: EnqueueOptions) -> dict[str, Any]:
    """The answer as JSON; under --run a part of the run's."""
    rest = {"existing": loaded.existing, "skipped_items": loaded.skipped_items}
    if options.split is not None:
        return {"batches": batches, **rest}
    return {"batch": batches[0] if batches else None, **rest}


def _say(batches: list[dict[str, Any]], loaded: Loaded) -> None:
    if not batches:
        console.out(f"nothing new: {console.plural(loaded.skipped_items, 'item')} left out as known")
        return
    console.out(_line(batches, loaded))


def _remark(batches: list[dict[str, Any]], loaded: Loaded, *, print_id: bool) -> None:
    if print_id:
        for batch in batches:
            console.out(batch["id"])
    else:
        console.note(_line(batches, loaded).partition("; next:")[0])


def _line(batches: list[dict[str, Any]], loaded: Loaded) -> str:
    """ "b3k2…: 500 items for create-invoice; next: batchctl run b3k2…" """
    first = batches[0]
    total = sum(batch["total_items"] for batch in batches)
    name = first["group"] if len(batches) > 1 else first["id"]
    parts = f" in {len(batches)} batches" if len(batches) > 1 else ""
    known = f", {loaded.skipped_items:,} left out" if loaded.skipped_items else ""
    was = " (was enqueued before)" if loaded.existing else ""
    text = f"{name}: {console.plural(total, 'item')}{parts} for {first['processor']}{known}{was}"
    return f"{text}; next: batchctl run {name}"
