"""Deletes what its owner no longer wants to keep: finished batches past their rule, and files that nobody owns.

No batch that is unfinished, or without a rule, is ever deleted. What is interrupted is finished by the next pass.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batchctl import journal, orphans, reserve
from batchctl.config import Config
from batchctl.engines.again import again
from batchctl.engines.base import Engine
from batchctl.store import Store
from batchctl.transitions.common import presence
from batchctl.transitions.counting import DAY, add_up_old
from batchctl.transitions.deleting import delete_batch

STATES = ("completed", "completed_with_errors", "failed", "cancelled")
_PAGE = 200
_STRAYS = 1_000  # rows of a kind in one pass: they are few
_ALERTS_KEPT = 30 * DAY  # ms after they were cleared, or after the message was written
_SHRINK = 5.0  # seconds that a pass under a deadline gives space back


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What went (or would go): batches, their items, orphaned files, provider uploads; bytes given back to the disk."""

    batches: int = 0
    items: int = 0
    files: int = 0
    uploads: int = 0
    bytes: int = 0


def rules(retention: Mapping[str, float | None], older_than: float | None) -> dict[str, float]:
    """Seconds after their end for which finished batches are kept, by state; a state that is not named is kept for
    ever. `older_than` holds for every state but those of which the config says `never`."""
    if older_than is None:
        return {state: age for state, age in retention.items() if age is not None}
    return {state: older_than for state in STATES if retention.get(state, older_than) is not None}


def expired(engine: Engine, kept: Mapping[str, float], org: str | None = None) -> Iterator[dict[str, Any]]:
    """The batches that are past their rule: rows of no, id, name, processor, status, total_items, completed_at and
    before, the time that they would have had to end after to stay."""
    for state, age in kept.items():
        before, after = engine.now() - round(age * 1000), 0
        while True:
            where = {"status": state, "before": before, "after": after, "org": org, "limit": _PAGE}
            rows = _page(engine, where)
            if not rows:
                break
            yield from (row | {"before": before} for row in rows)
            after = rows[-1]["no"]


@again
def _page(engine: Engine, where: Mapping[str, Any]) -> list[dict[str, Any]]:
    with engine.read() as tx:
        return tx.dicts("expired_batches", where)


def clean(
    store: Store,
    config: Config,
    *,
    older_than: float | None = None,
    dry_run: bool = False,
    deadline: float | None = None,
    org: str | None = None,
) -> Cleaned:
    """Delete what is past its rule, at most until `deadline` (time.monotonic()); without a rule only files and half
    deleted batches go. `older_than` in seconds replaces the config's rules; `org` is the only one whose batches go."""
    engine = store.engine
    kept = rules(config.check.retention, older_than)
    if dry_run:
        return _would(engine, kept, org)
    size, _ = engine.upkeep().space()
    if low := reserve.low(engine.private_folder()):
        reserve.give_up(engine.private_folder())
    done = _delete(engine, kept, org, deadline, sparing=low)
    files, freed = _orphans(engine) if org is None else (0, 0)  # whose they were, nobody knows
    add_up_old(engine)
    if done.items or done.batches:
        engine.upkeep().flush()
        engine.upkeep().shrink(3600.0 if deadline is None else max(1.0, min(_SHRINK, deadline - time.monotonic())))
    left, _ = engine.upkeep().space()
    reserve.keep(engine.private_folder(), left or 0)
    return replace(done, files=files, bytes=freed + max(0, (size or 0) - (left or 0)))


def _would(engine: Engine, kept: Mapping[str, float], org: str | None) -> Cleaned:
    rows = list(expired(engine, kept, org))
    return Cleaned(
        len(rows), sum(row["total_items"] for row in rows), files=len(_orphaned(engine)) if org is None else 0
    )


def _delete(
    engine: Engine, kept: Mapping[str, float], org: str | None, deadline: float | None, *, sparing: bool
) -> Cleaned:
    batches = items = 0
    with presence(engine) as token:
        for no in _half_deleted(engine, token, org):
            items += delete_batch(engine, no, deadline=deadline, sparing=sparing)
        for row in expired(engine, kept, org):
            if deadline is not None and time.monotonic() >= deadline:
                break
            if _begin(engine, row, token):
                items += delete_batch(engine, row["no"], deadline=deadline, sparing=sparing)
                batches += 1
                journal.log(journal.INFO, "batch_deleted", batch=row["id"], items=row["total_items"])
        if org is None:
            _delete_strays(engine)
    return Cleaned(batches, items)


@again
def _begin(engine: Engine, row: Mapping[str, Any], token: str) -> bool:
    """From now on nobody sees the batch. False where it was opened again since we looked."""
    mine = {"no": row["no"], "status": row["status"], "before": row["before"], "loader": token}
    with engine.write() as tx:
        return bool(tx.run("begin_cleanup", mine))


@again
def _delete_strays(engine: Engine) -> None:
    """What belongs to no batch: messages of batches that are gone, alerts that are long over, messages about alerts."""
    with engine.write() as tx:
        tx.run("delete_stray_notices", {"limit": _STRAYS})
        gone = {"before": engine.now() - _ALERTS_KEPT, "limit": _STRAYS}
        tx.run("delete_old_alerts", gone)
        tx.run("delete_old_alert_notices", gone)


@again
def _half_deleted(engine: Engine, token: str, org: str | None) -> list[int]:
    """Batches whose deletion was interrupted; they are ours now."""
    with engine.read() as tx:
        rows = [(no, loader) for no, loader in tx.all("half_deleted", {"org": org}) if not engine.alive(loader)]
    if not rows:
        return []
    with engine.write() as tx:
        mine = [(no, {"no": no, "loader": token, "gone": gone}) for no, gone in rows]
        return [no for no, params in mine if tx.run("take_cleanup_over", params)]


@again
def _orphaned(engine: Engine) -> list[Any]:
    with engine.read() as tx:
        known = {row["id"] for row in tx.dicts("all_workers")}
    return orphans.find(engine.private_folder(), known, engine.alive)


def _orphans(engine: Engine) -> tuple[int, int]:
    found = _orphaned(engine)
    return len(found), sum(orphans.remove(path) for path in found)
