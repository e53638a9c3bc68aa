"""The facts behind alerts, and what becomes of them: raised, kept or cleared."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

from batchctl import alerts, recovery
from batchctl.alerts import Condition, Facts, OpenBatch
from batchctl.announce import Alert
from batchctl.config import Config, inline
from batchctl.engines.again import again
from batchctl.engines.base import Engine, Tx
from batchctl.transitions.alerts import Open, clear_alert, open_alerts, raise_alert, watch, watched
from batchctl.views.outages import outages

_PROGRESS = "progress"
_UNSERVED = "unserved"


@dataclass(frozen=True, slots=True)
class Changes:
    """What one look changed, and what is open afterwards."""

    raised: tuple[Open, ...]
    cleared: tuple[Open, ...]
    open: tuple[Open, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """The facts, and the marks that the next look compares with."""

    facts: Facts
    marks: dict[str, dict[str, str]]
    news: bool


def look(engine: Engine, config: Config, org: str | None = None) -> Changes:
    """Raise what is wrong and not told yet, clear what is over. Writes nothing where nothing has changed. `org`: only
    what concerns this organization; what is said of the whole queue is for those who see all of it."""
    now = engine.now()
    alive = {row["id"] for row in _workers(engine) if recovery.health(engine, row) is recovery.Health.ALIVE}
    free = shutil.disk_usage(engine.private_folder()).free
    view, known = _seen(engine, config, now, alive, free, org)
    found = [one for one in alerts.judge(view.facts, config.check.alerts) if org in (None, one.organization)]
    if not view.news and _keys(known) == {(one.name, one.subject) for one in found}:
        return Changes((), (), tuple(known))
    return _change(engine, view, found, now, org)


@again
def _seen(
    engine: Engine, config: Config, now: int, alive: set[str], free: int, org: str | None
) -> tuple[_View, list[Open]]:
    with engine.read() as tx:
        return _view(tx, config, now, alive, free, org), _open(tx, org)


@again
def _change(engine: Engine, view: _View, found: list[Condition], now: int, org: str | None) -> Changes:
    with engine.write() as tx:
        for name, marks in view.marks.items():
            watch(tx, name, marks, now, whole=org is None)
        return _settle(tx, found, now, org)


def _open(tx: Tx, org: str | None) -> list[Open]:
    return [one for one in open_alerts(tx) if org in (None, one.organization)]


def _settle(tx: Tx, found: list[Condition], now: int, org: str | None) -> Changes:
    wrong = {(one.name, one.subject) for one in found}
    cleared = [one for one in _open(tx, org) if (one.name, one.subject) not in wrong and clear_alert(tx, one, now)]
    fresh = {(one.name, one.subject) for one in found if _raise(tx, one, now)}
    known = _open(tx, org)
    raised = [one for one in known if (one.name, one.subject) in fresh]
    return Changes(tuple(raised), tuple(cleared), tuple(known))


def _raise(tx: Tx, one: Condition, now: int) -> bool:
    alert = Alert(
        one.name,
        one.message,
        since=now,
        processor=one.processor,
        organization=one.organization,
        command=one.command,
    )
    hint = f"{one.hint}; see `{one.command}`" if one.hint else f"see `{one.command}`"
    return raise_alert(tx, alert, one.subject, hint, now)


def _keys(known: list[Open]) -> set[tuple[str, str]]:
    return {(one.name, one.subject) for one in known}


@again
def _workers(engine: Engine) -> list[dict[str, Any]]:
    with engine.read() as tx:
        return tx.dicts("all_workers")


def _view(tx: Tx, config: Config, now: int, alive: set[str], free: int, org: str | None) -> _View:
    shut = tx.dicts("shut_processors")
    down = outages(tx, now)
    closed = {row["name"] for row in shut} | {one.processor for one in down if one.gates}
    rows = [row for row in tx.dicts("batches_on_watch") if org in (None, row["organization"])]
    batches = [_batch(row, config, closed) for row in rows]
    served = set(config.processors)
    for worker_id, names in tx.all("known_to_workers"):
        served |= set(json.loads(names)) if worker_id in alive else set()
    whole = org is None
    marks = {_PROGRESS: {str(one.no): str(one.processed) for one in batches}}
    if whole:
        marks[_UNSERVED] = dict.fromkeys(alerts.unserved(batches, served), "")
    still, moved = watched(tx, _PROGRESS, marks[_PROGRESS], now, whole=whole)
    missing, changed = watched(tx, _UNSERVED, marks.get(_UNSERVED, {}), now, whole=whole)
    ended, failed = _ended(tx, config, now)
    facts = Facts(
        now=now,
        batches=batches,
        broken={
            row["name"]: f"{row['broken_type']}: {row['broken_message']}"
            for row in shut
            if row["broken_since"] is not None
        },
        outages=[(one.processor, one.origin, one.since, one.error) for one in down],
        still={int(no): since for no, since in still.items()},
        unserved=missing,
        ended=ended,
        failed=failed,
        free=free,
        least=config.worker.min_free,
    )
    return _View(facts, marks, moved or changed)


def _batch(row: dict[str, Any], config: Config, shut: set[str]) -> OpenBatch:
    name = row["processor"]
    known = inline(row["definition"]) if row["definition"] else config.processors.get(name)
    return OpenBatch(
        no=row["no"],
        id=row["id"],
        name=row["name"],
        processor=name,
        organization=row["organization"],
        left=row["left_items"],
        processed=row["processed_items"],
        claimable=bool(row["claimable"]),
        started=bool(row["started"]),
        held=bool(row["held"]) or name in shut or "*" in shut,
        since=row["since"],
        timeout=known.timeout if known is not None else 0.0,
    )


def _ended(tx: Tx, config: Config, now: int) -> tuple[int, int]:
    """(items that ended within the window, how many of them failed); looked up only where a rule asks."""
    rules = config.check.alerts
    if rules.failure_rate is None:
        return 0, 0
    row = tx.one("ended_in_window", {"since": now - round(rules.failure_window * 1000)})
    return (int(row[0]), int(row[1])) if row else (0, 0)
