"""`show`: a batch with its items, or an item with its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from batchctl import console
from batchctl.adaptive import START
from batchctl.commands.common import Globals, globals_of
from batchctl.commands.item_table import item_table, state_of
from batchctl.engines.again import snapshot
from batchctl.engines.base import Tx
from batchctl.errors import InvalidInput
from batchctl.views import Views, resolve_target
from batchctl.views.batches import STATES
from batchctl.views.facts import place_of
from batchctl.views.lanes import lanes_of
from batchctl.views.times import ms_of


def register(app: typer.Typer) -> None:
    app.command("show")(show)


def show(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="BATCH|ITEM", help="A batch, or an item (its number or BATCH/KEY).")],
    items: Annotated[str, typer.Option(metavar="STATE", help=f"all, {', '.join(STATES)} or none.")] = "all",
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="At most so many items (or lanes).")] = 50,
    offset: Annotated[int, typer.Option(min=0, metavar="N", help="Leave out the first N items (or lanes).")] = 0,
    by: Annotated[str | None, typer.Option(metavar="lane", help="A batch's items added up by their lanes.")] = None,
) -> None:
    """Show a batch (counts, progress, items) or an item (payload, attempts, result, files)."""
    shared = globals_of(ctx)
    if by not in (None, "lane"):
        raise InvalidInput(f"--by {by}: items can be added up by `lane` only")
    if items not in ("all", "none", *STATES):
        raise InvalidInput(f"--items: there is no state {items!r}", hint=f"one of all, none, {', '.join(STATES)}")
    store = shared.existing_store(what)
    views = shared.views(store)

    def ask(tx: Tx) -> dict[str, Any]:
        target = resolve_target(tx, what, shared.organization)
        if target.item_id is not None:
            return _item_answer(views, target.item_id)
        if by is not None:
            return _lanes_answer(views, target.batch_nos, limit, offset)
        if len(target.batch_nos) > 1:
            return {"batches": views.batches_of(target.batch_nos)}
        return _batch_answer(shared, views, target.batch_nos[0], items, limit, offset)

    _print(shared, snapshot(store.engine, ask), items, offset)


def _file(file: dict[str, Any]) -> str:
    kept = ", content in the store" if file.get("stored") else ""
    return f"{file['path']} ({file['size']:,} bytes, {file['media_type']}{kept})"


def _item_answer(views: Views, number: int) -> dict[str, Any]:
    return {
        "item": views.item(number),
        "attempts": views.attempts(number),
        "artifacts": views.artifacts(number),
    }


def _batch_answer(shared: Globals, views: Views, no: int, state: str, limit: int, offset: int) -> dict[str, Any]:
    page = [] if state == "none" else views.items(no, state, limit=limit, offset=offset)
    answer = {"batch": views.batch(no), "items": page, "summary": views.summary(no)}
    return answer | {"concurrency": _concurrency(shared, views, no)}


def _concurrency(shared: Globals, views: Views, no: int) -> dict[str, Any] | None:
    """How many items of the batch's processor may run at once, in all workers together; None where that has no limit,
    or no config here knows the processor."""
    place = place_of(views, no)
    config = shared.processor_config(place.processor, place.definition)
    if config is None or (config.concurrency is None and not config.adaptive):
        return None
    return {"limit": config.concurrency or place.adaptive or START, "auto": config.adaptive}


def _lanes_answer(views: Views, nos: Sequence[int], limit: int, offset: int) -> dict[str, Any]:
    if len(nos) > 1:
        raise InvalidInput("--by lane is for one batch, and this names several", hint="name one of them")
    lanes, total = lanes_of(views, nos[0], limit=limit, offset=offset)
    return {"batch": views.batch(nos[0]), "lanes": lanes, "total_lanes": total, "summary": views.summary(nos[0])}


def _print_lanes(answer: dict[str, Any], offset: int) -> None:
    columns = [
        console.Column("lane", gives=True),
        *(console.Column(name, right=True) for name in ("items", "done", "failed", "cancelled", "running", "waiting")),
        console.Column("next", gives=True, rank=1),
    ]
    console.out()
    console.table(columns, [_lane_row(lane) for lane in answer["lanes"]])
    shown, total = offset + len(answer["lanes"]), answer["total_lanes"]
    if shown < total:
        console.note(f"{total - shown:,} more lanes: --offset {shown}")


def _lane_row(lane: dict[str, Any]) -> list[object]:
    names = ("total", "completed", "failed", "cancelled", "processing", "waiting")
    return [lane["lane"], *(lane[f"{name}_items"] for name in names), _next(lane)]


def _next(lane: dict[str, Any]) -> str:
    upcoming = lane["next"]
    if upcoming is None:
        return ""
    if lane["held_by"] is not None:
        return f"{upcoming['key']}: held since item {lane['held_by']} failed"
    due = f" at {console.when(ms_of(upcoming['next_attempt_at']))}" if upcoming["next_attempt_at"] else ""
    return f"{upcoming['key']}{due}"


def _print(shared: Globals, answer: dict[str, Any], state: str, offset: int) -> None:
    if shared.json:
        console.emit_json(answer)
    elif "item" in answer:
        _print_item(answer)
    elif "lanes" in answer:
        _print_facts(answer["batch"])
        _print_lanes(answer, offset)
    elif "batch" in answer:
        _print_batch(answer, state, offset)
    else:
        for at, batch in enumerate(answer["batches"]):
            console.out() if at else None
            _print_facts(batch)


def _print_batch(answer: dict[str, Any], state: str, offset: int) -> None:
    _print_facts(answer["batch"], answer.get("concurrency"))
    found = answer["items"]
    if found:
        console.out()
        item_table(found)
    summary = answer["summary"]
    fitting = summary["total"] if state == "all" else summary.get(state, 0)
    if state != "none" and offset + len(found) < fitting:
        console.note(f"items {offset + 1} to {offset + len(found)} of {fitting:,}; see --limit, --offset, --items")


def _print_facts(batch: dict[str, Any], most: dict[str, Any] | None = None) -> None:
    paused = " (paused)" if batch["paused"] and batch["completed_at"] is None else ""
    parts = [f"{console.number(batch[f'{state}_items'])} {state}" for state in STATES if batch[f"{state}_items"]]
    eta = batch["eta_seconds"]
    progress = f"{console.percent(batch['progress_percent'])} of {console.plural(batch['total_items'], 'item')}"
    started, ended = ms_of(batch["started_at"]), ms_of(batch["completed_at"])
    took = f", took {console.span(ended - started)}" if started and ended else ""
    console.facts(
        [
            ("batch", batch["id"] + (f"  {batch['name']}" if batch["name"] else "")),
            ("group", batch["group"]),
            ("status", batch["status"] + paused),
            ("progress", progress + (f", about {console.remaining(eta)} left" if eta else "")),
            ("items", ", ".join(parts)),
            ("processor", f"{batch['processor']} ({batch['kind']}, priority {batch['priority']})"),
            ("at once", _at_once(most)),
            ("submitted by", _by(batch)),
            ("created", console.when(ms_of(batch["created_at"]))),
            ("started", console.when(started) if started else None),
            ("ended", console.when(ended) + took if ended else None),
            ("run", str(batch["run_no"]) if batch["run_no"] > 1 else None),
            ("error", str(batch["error"]) if batch["error"] else None),
        ]
    )


def _at_once(most: dict[str, Any] | None) -> str | None:
    if most is None:
        return None
    return f"{most['limit']} at most" + (" now (concurrency: auto)" if most["auto"] else "")


def _by(batch: dict[str, Any]) -> str | None:
    return ", ".join(str(value) for value in (batch["user"], batch["organization"]) if value) or None


def _print_item(answer: dict[str, Any]) -> None:
    item = answer["item"]
    error, file = item["error"], item["file"]
    tries = f"{item['attempts']} of {item['max_attempts']}" if item["max_attempts"] else str(item["attempts"])
    console.facts(
        [
            ("item", f"{item['id']}  {item['key']}"),
            ("batch", item["batch_id"]),
            ("state", state_of(item)),
            ("lane", item["lane"]),
            ("progress", f"{item['progress']:.0f}%" if item["progress"] is not None else None),
            ("attempts", tries),
            ("next try", console.when(ms_of(item["next_attempt_at"])) if item["next_attempt_at"] else None),
            ("worker", item["worker"]),
            ("file", _file(file) if file else None),
            ("started", console.when(ms_of(item["started_at"])) if item["started_at"] else None),
            ("ended", console.when(ms_of(item["completed_at"])) if item["completed_at"] else None),
            ("took", console.span(item["duration_ms"]) if item["duration_ms"] is not None else None),
            ("error", f"{error['type']}: {error['message']}" if error else None),
        ]
    )
    for name in ("payload", "result", "usage"):
        if item[name] not in (None, {}):
            console.out()
            console.title(name)
            console.out(console.json_text(item[name], indent=2))
    if answer["artifacts"]:
        console.out()
        console.title("files it made")
        for path in answer["artifacts"]:
            console.out(path)
    _print_steps(item["steps"] or [])
    _print_attempts(answer["attempts"])


def _print_steps(steps: list[dict[str, Any]]) -> None:
    """What they came to, as far as a line tells it; `--json` has all of it."""
    if not steps:
        return
    columns = [
        console.Column("step"),
        console.Column("done by"),
        console.Column("ended", rank=1),
        console.Column("result", gives=True),
    ]
    console.out()
    console.table(columns, [_step_row(one) for one in steps])


def _step_row(one: dict[str, Any]) -> list[object]:
    ended, error = one["completed_at"], one["error"]
    why = f"{error['type']}: {error['message']}" if error else ""
    if ended is None:
        return [one["name"], "its fallback, next", None, why]
    return [one["name"], "its fallback" if one["path"] == "fallback" else "itself", console.when(ms_of(ended)),
            console.json_text(one["result"])]  # fmt: skip


def _print_attempts(attempts: list[dict[str, Any]]) -> None:
    if not attempts:
        return
    columns = [
        console.Column("attempt", right=True),
        console.Column("outcome", style=console.state_style),
        console.Column("started", rank=1),
        console.Column("time", right=True),
        console.Column("worker", rank=3),
        console.Column("error", gives=True, rank=2),
    ]
    console.out()
    console.table(columns, [_attempt_row(one) for one in attempts])


def _attempt_row(one: dict[str, Any]) -> list[object]:
    error = one["error"]
    return [
        one["attempt"],
        one["outcome"] + ("" if one["counted"] else " (not counted)"),
        console.when(ms_of(one["started_at"])),
        console.span(one["duration_ms"]),
        one["worker"],
        f"{error['type']}: {error['message']}" if error else "",
    ]
