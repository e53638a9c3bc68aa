"""Removes a batch that nobody may see any more with all it has, in chunks that block nobody."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from batchctl.engines.again import again
from batchctl.engines.base import Engine, Row, Tx
from batchctl.transitions import contents
from batchctl.transitions.fingerprints import fingerprint

_LEAST, _FIRST, _MOST = 50, 200, 5_000  # items in a chunk
_AIM = 0.08  # seconds that a chunk may take: the write lock is free again well before 200 ms
_BREATH = 0.5  # the pause after a chunk, as a share of what it took: others' work goes on meanwhile


@dataclass(slots=True)
class Pace:
    """How many rows the next chunk takes, from how long the last ones took."""

    size: int
    took: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self.took = time.monotonic() - self._began
        grown = self.size * _AIM / max(self.took, _AIM / 4)
        self.size = max(_LEAST, min(_MOST, round(grown)))

    def rest(self) -> None:
        time.sleep(min(0.2, self.took * _BREATH))


def delete_batch(engine: Engine, batch_no: int, *, deadline: float | None = None, sparing: bool = False) -> int:
    """Delete a batch that is `loading`, or `deleting`, with all it has; the row goes last. A batch that has come to
    exist meanwhile is left alone. Returns how many items went; after the deadline (time.monotonic()) the rest stays for
    the next one who looks. `sparing` takes as little of the disk for it as it can."""
    where = _begin(engine, batch_no)
    if where is None:
        return 0
    gone, pace, stored = 0, Pace(_LEAST if sparing else _FIRST), where["after"]
    while (deadline is None or time.monotonic() < deadline) and (
        last_stored := contents.remove(engine, where | {"after": stored})
    ) is not None:
        stored = last_stored
    while deadline is None or time.monotonic() < deadline:
        pace.begin()
        last = _chunk(engine, where, pace.size)
        if last is None:
            if not _rest(engine, batch_no, pace.size):
                break
        else:
            gone, where["after"] = gone + last[0], last[1]
        pace.end()
        if sparing:
            pace.size = _LEAST
            engine.upkeep().flush()
        pace.rest()
    return gone


@again
def _begin(engine: Engine, batch_no: int) -> dict[str, int] | None:
    """Where its items are; None where it is not to be deleted."""
    with engine.write() as tx:
        if not tx.run("begin_delete", {"no": batch_no, "now": engine.now()}):
            return None
    with engine.read() as tx:  # it looks at every item: not under the write lock
        first, last = tx.one("view_item_range", {"batch_no": batch_no}) or (None, None)
    return {"no": batch_no, "after": (first or 1) - 1, "last": last or 0}


@again
def _chunk(engine: Engine, where: dict[str, int], size: int) -> tuple[int, int] | None:
    """Delete the next items. How many, and the last one's number; None where none is left."""
    with engine.write() as tx:
        rows = tx.all("doomed_items", where | {"limit": size})
        if not rows:
            return None
        _delete_items(tx, rows)
    return len(rows), rows[-1][0]


def _delete_items(tx: Tx, rows: list[Row]) -> None:
    tx.many("remember_completed", [_seen(row) for row in rows if row[7]])
    ids = {"ids": json.dumps([row[0] for row in rows])}
    tx.run("delete_logs_of", ids)
    tx.run("delete_steps_of", ids)
    tx.run("delete_file_acts_of", ids)
    tx.run("delete_attempts_of", ids)
    tx.run("delete_results_of", ids)
    tx.run("delete_data_of", ids)
    tx.run("delete_items_of", ids)


def _seen(row: Row) -> Row:
    """What --skip-known remembers of a completed item."""
    number, organization, key, payload, sha256, explicit, processor, _ = row
    mark = fingerprint(key=key, payload=payload or "", sha256=sha256, explicit_key=bool(explicit))
    return processor, organization, mark, number


@again
def _rest(engine: Engine, batch_no: int, limit: int) -> bool:
    """Delete what belongs to the batch itself. False when that was the last of it."""
    with engine.write() as tx:
        if tx.run("delete_events_of", {"no": batch_no, "limit": limit}) == limit:
            return True
        if tx.run("delete_lanes_of", {"no": batch_no, "limit": limit}) == limit:
            return True
        tx.run("delete_notices_of", {"no": batch_no})
        tx.run("delete_group", {"no": batch_no})
        tx.run("delete_batch_row", {"no": batch_no})
    return False
