"""What an item's steps have found: stored before the next step starts, brought along by the next claim."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from batchctl.engines.base import Row, Tx
from batchctl.model import Item, ItemError, Kept, StepPath

Found = tuple[int, int, Kept]  # item number, claim number, what was found


def keep(tx: Tx, worker_id: str, found: Sequence[Found]) -> set[int]:
    """Store what is found for items that the worker still holds under these claims. Returns their numbers."""
    ids = json.dumps([number for number, _, _ in found])
    held = set(tx.all("claims_held", {"ids": ids, "worker_id": worker_id})) if found else set()
    ours = [one for one in found if one[:2] in held]
    store(tx, ((number, kept) for number, _, kept in ours))
    return {number for number, _, _ in ours}


def store(tx: Tx, found: Iterable[tuple[int, Kept]]) -> None:
    """The same for items that are known to be ours."""
    tx.many("store_step", [_row(number, kept) for number, kept in found])


def _row(number: int, kept: Kept) -> Row:
    return (
        number,
        kept.step,
        kept.position,
        kept.mark,
        str(kept.path),
        int(kept.finished),
        kept.attempts_before,
        kept.at,
        kept.result,
        kept.error.type if kept.error else None,
        kept.error.message if kept.error else None,
        kept.usage,
        msgspec.json.encode(kept.artifacts).decode() if kept.artifacts else None,
    )


def of_items(tx: Tx, ids: Collection[int]) -> dict[int, tuple[Kept, ...]]:
    """What the steps of these items have left behind."""
    found: dict[int, list[Kept]] = {}
    for number, *row in tx.all("claimed_steps", {"ids": json.dumps(list(ids))}) if ids else ():
        found.setdefault(number, []).append(_kept(row))
    return {number: tuple(kept) for number, kept in found.items()}


def _kept(row: Sequence[Any]) -> Kept:
    step, position, mark, path, finished, before, at, result, kind, message, usage, artifacts = row
    return Kept(
        step,
        position,
        mark,
        StepPath(path),
        bool(finished),
        before,
        at,
        result,
        None if kind is None else ItemError(kind, message),
        usage,
        tuple(json.loads(artifacts)) if artifacts else (),
    )


def brought(tx: Tx, items: list[Item], chains: Collection[str]) -> list[Item]:
    """The items; those of the processors `chains`, each with what its steps have left behind."""
    kept = of_items(tx, [item.number for item in items if item.processor in chains])
    return [replace(item, kept=kept[item.number]) if item.number in kept else item for item in items]


def begin_again(tx: Tx, ids: Collection[int], *, from_start: bool) -> None:
    """Items go back with fresh attempts: at the step where they were, by its own way first; or from the start."""
    where = {"ids": json.dumps(list(ids))}
    if from_start:
        tx.run("forget_steps", where)
    else:
        tx.run("forget_unfinished_steps", where)
        tx.run("count_steps_anew", where)
