"""Finds workers that are gone, ends what they left running, and puts their items back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from batchctl import hosts
from batchctl.engines import presence
from batchctl.engines.again import snapshot
from batchctl.engines.base import Engine
from batchctl.inflight import InFlight
from batchctl.transitions import bulk, clock, loading, recovering
from batchctl.transitions.recording import Settled

_PATIENCE = 1.0  # seconds that a worker gives at once to what failure limits have left to cancel


class Health(Enum):
    """What can be said of a worker from its row, its lock and the clock."""

    ALIVE = "alive"
    DEAD = "dead"
    REBOOTED = "rebooted"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What one pass did; `failed` are the items that have caused one death too many."""

    items: int = 0
    workers: int = 0
    loads: int = 0
    bulk: int = 0
    failed: tuple[Settled, ...] = ()


def judge(
    row: Mapping[str, Any], here: hosts.Host, *, locked: bool, now: int, monotonic: int, local: bool = True
) -> Health:
    """On the same running system the kernel's lock decides, and for a stopped process its heartbeat in time awake:
    neither a changed clock nor a suspended machine makes anybody look dead. Elsewhere the lease decides.

    now, monotonic   the database's clock and this system's time awake, in ms
    local            whether its lock can be seen from here: not that of another user or container
    """
    if row["boot_id"] == here.boot_id and local:
        if not locked:
            return Health.DEAD
        overdue = monotonic - row["seen_monotonic"] > row["lease_ms"]
        # In another pid namespace we could not end it, so it keeps what it holds.
        return Health.FROZEN if overdue and row["pid_namespace"] == here.pid_namespace else Health.ALIVE
    if row["host"] == here.name and row["boot_id"] != here.boot_id:
        return Health.REBOOTED
    return Health.DEAD if now - row["seen_at"] > row["lease_ms"] else Health.ALIVE


def health(engine: Engine, row: Mapping[str, Any]) -> Health:
    """`judge` with this host, this store's locks and the database's clock."""
    name, local = row["id"], engine.local(row["id"])
    locked = local and engine.alive(name)
    here, awake = hosts.here(), hosts.monotonic_ms()
    return judge(row, here, locked=locked, now=engine.now(), monotonic=awake, local=local)


def recover(
    engine: Engine,
    *,
    own: str | None,
    max_crashes: int,
    note: recovering.Note | None = None,
    org: str | None = None,
) -> Recovered:
    """One pass over workers, loads and bulk acts. `own` is the calling worker's id; `org`: only what is this
    organization's is touched."""
    found = recover_workers(engine, own=own, max_crashes=max_crashes, note=note, org=org)
    loads, acts = finish_interrupted(engine, patience=_PATIENCE, org=org)
    tidy(engine)
    return replace(found, loads=loads, bulk=acts)


def recover_workers(
    engine: Engine,
    *,
    own: str | None,
    max_crashes: int,
    note: recovering.Note | None = None,
    org: str | None = None,
) -> Recovered:
    """Put back what dead workers held; and put right what a clock that was set back has delayed. `note` is called in
    each commit with what it records."""
    clock.set_back(engine)
    rows, held = snapshot(engine, lambda tx: (tx.dicts("all_workers"), tx.all("ownerless_items")))
    ownerless = [worker_id for (worker_id,) in held if worker_id != own]
    failed: list[Settled] = []
    items = workers = 0
    for row in rows:
        state = Health.ALIVE if row["id"] == own else health(engine, row)
        if state is Health.ALIVE:
            continue
        items += _bury(engine, row, state, max_crashes, failed, note, org)
        workers += 1
    for worker_id in ownerless:
        if not engine.alive(worker_id):
            items += recovering.release_worker(engine, worker_id, None, max_crashes, org=org)
    return Recovered(items, workers, failed=tuple(failed))


def finish_interrupted(engine: Engine, *, patience: float | None = None, org: str | None = None) -> tuple[int, int]:
    """Take away loads and go on with bulk acts whose process is gone. Returns how many of each."""
    return loading.abort_abandoned(engine, org), bulk.finish_interrupted(engine, patience=patience, org=org)


def _bury(
    engine: Engine,
    row: Mapping[str, Any],
    state: Health,
    max_crashes: int,
    failed: list[Settled],
    note: recovering.Note | None,
    org: str | None,
) -> int:
    worker_id = row["id"]
    folder = engine.private_folder()
    if state is Health.FROZEN and not hosts.kill(row["pid"], row["pid_started"]):
        return 0
    local = engine.local(worker_id)
    if local and row["boot_id"] == hosts.here().boot_id and not hosts.end_descendants(worker_id):
        return 0  # somebody else's process still works on its items: they stay where they are
    # What a worker of another host had started can't be seen from here: nobody is suspected.
    started = _started(folder / f"{worker_id}.inflight") if local and state is not Health.REBOOTED else None
    return recovering.release_worker(engine, worker_id, started, max_crashes, failed.append, note, org=org)


def tidy(engine: Engine) -> None:
    """Files beside the store of processes that are gone and left no row behind (any more)."""
    folder = engine.private_folder()
    gone = {name for name in presence.names(folder) if not engine.alive(name)}
    if not gone:
        return
    # After the look at the locks: who was alive then may have made its row since.
    gone -= {row["id"] for row in snapshot(engine, lambda tx: tx.dicts("all_workers"))}
    for name in gone:
        presence.forget(folder, name, with_it=partial(_clear, folder, name))


def _clear(folder: Path, name: str) -> None:
    (folder / f"{name}.inflight").unlink(missing_ok=True)
    shutil.rmtree(folder / name, ignore_errors=True)


def _started(path: Path) -> frozenset[tuple[int, int]]:
    try:
        marks = InFlight(path)
    except (OSError, ValueError):
        return frozenset()
    try:
        return frozenset((mark.item_id, mark.claim_no) for mark in marks.started())
    finally:
        marks.close()
