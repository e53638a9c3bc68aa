"""cancel and retry: a flag in one commit, then chunk after chunk; recovery finishes what was interrupted."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from batchctl.engines.base import Engine, Row, Tx
from batchctl.model import ItemState
from batchctl.transitions.common import event, open_group, wake
from batchctl.transitions.recording import change_counts, count_final

_CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which final items a retry takes: by state, number, text of the error, lane."""

    failed: bool = True
    cancelled: bool = False
    ids: tuple[int, ...] | None = None
    error: str | None = None
    lane: str | None = None

    def params(self) -> dict[str, Any]:
        return {
            "failed": int(self.failed),
            "cancelled": int(self.cancelled),
            "ids": None if self.ids is None else json.dumps(self.ids),
            "error": self.error,
            "lane": self.lane,
        }


@contextmanager
def _presence(engine: Engine) -> Iterator[str]:
    """While it lasts, recovery leaves the bulk act to us."""
    name = "l" + secrets.token_hex(8)
    presence = engine.presence(name)
    try:
        yield name
    finally:
        presence.leave()


def cancel_batch(engine: Engine, batch_no: int, actor: str | None) -> int:
    """End all that waits and tell what runs. Returns how many items ended at once; 0 where the batch was finished."""
    with _presence(engine) as loader:
        with engine.write() as tx:
            now = engine.now()
            row = tx.one("begin_cancel", {"no": batch_no, "now": now, "loader": loader})
            if row is None:
                return 0
            tx.run("gate_cancel", {"no": batch_no})
            told = tx.run("tell_held_of_batch", {"no": batch_no})
            tx.run("raise_control")
            event(tx, "cancel", now, organization=row[0], batch_no=batch_no, actor=actor, detail={"running": told})
        return _cancel_rest(engine, batch_no)


def _cancel_rest(engine: Engine, batch_no: int) -> int:
    ended = 0
    while True:
        with engine.write() as tx:
            now = engine.now()
            params = {"no": batch_no, "now": now, "limit": _CHUNK}
            chunk = tx.run("cancel_pending", params)
            if chunk < _CHUNK:
                chunk += tx.run("cancel_suspects", params) + tx.run("cancel_waiting", params)
            ended += chunk
            if not chunk:
                tx.run("end_bulk", {"no": batch_no})
            change_counts(tx, batch_no, Counter({ItemState.CANCELLED: chunk}), now)
        if not chunk:
            return ended


def cancel_items(engine: Engine, item_ids: Collection[int], actor: str | None) -> int:
    """Cancel single items: what waits ends at once, what runs is told. Returns how many ended at once."""
    ended = 0
    with engine.write() as tx:
        now = engine.now()
        for number in item_ids:
            row = tx.one("cancel_item", {"id": number, "now": now})
            if row:
                ended += 1
                count_final(tx, [(row[0], ItemState.CANCELLED)], now)
                event(tx, "cancel", now, organization=row[1], batch_no=row[0], item_id=number, actor=actor)
            else:
                tx.run("tell_item", {"id": number})
        tx.run("raise_control")
    return ended


def retry(
    engine: Engine,
    batch_no: int,
    actor: str | None,
    selection: Selection,
    *,
    payloads: Mapping[str, str] | None = None,
    from_start: bool = False,
    files: Mapping[int, str] | None = None,
) -> int:
    """Failed (or cancelled) items go back with fresh attempts; the batch opens again. Returns how many.

    payloads   key → JSON text: only items with these keys, with this payload and a new idempotency key
    files      item number → JSON text of the file's facts as they are now (`--reread`)
    """
    detail = None if payloads or files else json.dumps(asdict(selection))
    with _presence(engine) as loader:
        if not _any(engine, batch_no, selection):
            return 0
        with engine.write() as tx:
            row = tx.one("begin_retry", {"no": batch_no, "detail": detail, "loader": loader})
            if row is None:
                return 0
            open_group(tx, batch_no, engine.now())
        count = _retry_rest(engine, batch_no, selection, payloads, files, from_start=from_start)
        with engine.write() as tx:
            event(tx, "retry", engine.now(), organization=row[0], batch_no=batch_no, actor=actor, count=count)
            tx.run("raise_control")
        return count


def _any(engine: Engine, batch_no: int, selection: Selection) -> bool:
    with engine.read() as tx:
        return bool(tx.all("retriable_items", {"no": batch_no, "after": 0, "limit": 1} | selection.params()))


def _retry_rest(
    engine: Engine,
    batch_no: int,
    selection: Selection,
    payloads: Mapping[str, str] | None,
    files: Mapping[int, str] | None,
    *,
    from_start: bool,
) -> int:
    count, after = 0, 0
    while True:
        with engine.write() as tx:
            page = {"no": batch_no, "after": after, "limit": _CHUNK}
            rows = tx.all("retriable_items", page | selection.params())
            chosen = rows if payloads is None else [row for row in rows if row[2] in payloads]
            _reopen(tx, batch_no, chosen, engine.now())
            for number, _, key in chosen:
                if payloads is not None:
                    tx.run("new_payload", {"id": number, "payload": payloads[key]})
                if files is not None and number in files:
                    tx.run("reread_file", {"id": number, "file": files[number]})
            if from_start:
                tx.many("forget_steps", [(row[0],) for row in chosen])
            if not rows:
                tx.run("end_bulk", {"no": batch_no})
                change_counts(tx, batch_no, Counter(), engine.now())
                return count
            count += len(chosen)
            after = rows[-1][0]


def _reopen(tx: Tx, batch_no: int, rows: list[Row], now: int) -> None:
    if not rows:
        return
    tx.many("retry_item", [(row[0],) for row in rows])
    tx.many("drop_result", [(row[0],) for row in rows])
    taken = Counter(ItemState(row[1]) for row in rows)
    change_counts(tx, batch_no, Counter({state: -number for state, number in taken.items()}), now)
    wake(tx, batch_no)


def finish_interrupted(engine: Engine) -> int:
    """Go on with bulk acts whose process is gone. Returns how many."""
    with engine.read() as tx:
        left = tx.all("bulk_left")
    finished = 0
    for batch_no, kind, detail, loader in left:
        if loader and engine.alive(loader):
            continue
        finished += 1
        if kind == "cancel":
            _cancel_rest(engine, batch_no)
        elif detail:
            chosen = json.loads(detail)
            chosen["ids"] = None if chosen["ids"] is None else tuple(chosen["ids"])
            _retry_rest(engine, batch_no, Selection(**chosen), None, None, from_start=False)
        else:
            with engine.write() as tx:
                tx.run("end_bulk", {"no": batch_no})
                change_counts(tx, batch_no, Counter(), engine.now())
    return finished
