"""`why`: in words why a batch or item is not running, or failed."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from batchctl import console, why
from batchctl.commands.common import Globals, globals_of
from batchctl.commands.workers import known_workers
from batchctl.engines.again import snapshot
from batchctl.engines.base import Tx
from batchctl.errors import ConfigError
from batchctl.store import Store
from batchctl.views import Views, resolve_target
from batchctl.views.facts import item_row, place_of
from batchctl.views.failures import failure_groups
from batchctl.views.lanes import first_in_lanes, held_lanes, lane_facts, pace


def register(app: typer.Typer) -> None:
    app.command("why")(explain)


def explain(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="BATCH|ITEM", help="A batch, or an item (its number or BATCH/KEY).")],
) -> None:
    """Say in words why a batch or item is not running, or why it failed."""
    shared = globals_of(ctx)
    store = shared.existing_store(what)
    views = shared.views(store)
    workers = known_workers(shared, store)

    def answer_all(tx: Tx) -> list[dict[str, Any]]:
        target = resolve_target(tx, what, shared.organization)
        if target.item_id is not None:
            return [_item(shared, store, views, target.item_id, workers)]
        return [_batch(shared, store, views, no, workers) for no in target.batch_nos]

    answers = snapshot(store.engine, answer_all)
    if shared.json:
        console.emit_json(answers[0] if len(answers) == 1 else {"batches": answers})
        return
    for answer in answers:
        if len(answers) > 1:
            console.title(answer["id"])
        for line in answer["reasons"]:
            console.prose(line)


def _batch(shared: Globals, store: Store, views: Views, no: int, workers: list[dict[str, Any]]) -> dict[str, Any]:
    batch = views.batch(no)
    groups = failure_groups(views, [no]) if batch["failed_items"] else []
    queue = _queue(shared, store, views, no, workers)
    reasons = why.explain_batch(why.BatchFacts(batch, groups), queue, _clock)
    return {"id": batch["id"], "status": batch["status"], "reasons": reasons}


def _item(shared: Globals, store: Store, views: Views, number: int, workers: list[dict[str, Any]]) -> dict[str, Any]:
    item, row = views.item(number), item_row(views, number)
    facts = why.ItemFacts(
        item=item,
        due=row["next_attempt_at"],
        started=row["started_at"],
        ahead=row["ahead"],
        suspect=bool(row["suspect"]),
        told=bool(row["cancel_requested"]),
        holder=next((one for one in workers if one["id"] == item["worker"]), None),
        lane=lane_facts(views, number),
    )
    queue = _queue(shared, store, views, row["batch_no"], workers)
    reasons = why.explain_item(facts, views.batch(row["batch_no"]), queue, _clock)
    return {"id": number, "state": item["state"], "waiting_for": item["waiting_for"], "reasons": reasons}


def _queue(shared: Globals, store: Store, views: Views, no: int, workers: list[dict[str, Any]]) -> why.Queue:
    place = place_of(views, no)
    config = shared.processor_config(place.processor, place.definition)
    files = (place.host, place.folder) if place.host and place.folder else None
    apart = store.engine.leased or any(one["roots"] for one in workers)
    return why.Queue(
        now=store.engine.now(),
        gate=views.gate(no),
        paused_by=place.paused_by,
        next_retry=place.next_retry,
        ahead_batches=place.ahead_batches,
        ahead_items=place.ahead_items,
        workers=[one for one in workers if one["alive"]],
        here=config is not None,
        place=_config_name(shared),
        problems=() if config is None else tuple(config.problems),
        pace=pace(views, place.processor),
        held=held_lanes(views, no),
        behind=first_in_lanes(views, no),
        outages=place.outages,
        adaptive=place.adaptive if config is not None and config.adaptive else None,
        files=files if apart else None,
        running=place.running,
        most=None if config is None else config.concurrency,
    )


def _config_name(shared: Globals) -> str:
    try:
        path = shared.config().path
    except ConfigError:
        return "The config here (it has errors, see `batchctl config check`)"
    return f"The config {path}" if path else "The config here (there is none)"


def _clock(ms: int) -> str:
    return console.when(ms, now=time.time_ns() // 1_000_000)
