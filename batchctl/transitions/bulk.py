"""cancel and retry: a flag in one commit, then chunk after chunk; recovery finishes what was interrupted.

Whoever does an act shows its token in the batch's row, and looks at it before each chunk: an act that another one has
replaced or taken over stops there.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from batchctl.engines.again import again, snapshot
from batchctl.engines.base import Engine, Row, Tx
from batchctl.errors import UsageError
from batchctl.model import ItemState
from batchctl.transitions import file_acts, lanes, limits, steps
from batchctl.transitions.common import event, open_group, presence, wake
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


@dataclass(frozen=True, slots=True)
class _Act:
    """A bulk act in this process's hands."""

    engine: Engine
    batch_no: int
    kind: str
    token: str

    def _params(self) -> dict[str, Any]:
        return {"no": self.batch_no, "bulk": self.kind, "loader": self.token}

    def ours(self, tx: Tx) -> bool:
        return tx.value("bulk_is_ours", self._params()) is not None

    def end(self, tx: Tx) -> None:
        tx.run("end_bulk", self._params())
        change_counts(tx, self.batch_no, Counter(), self.engine.now())


def cancel_batch(engine: Engine, batch_no: int, actor: str | None) -> int:
    """End all that waits and tell what runs. Returns how many items ended at once; 0 where the batch was finished."""
    with presence(engine) as token:
        act = _Act(engine, batch_no, "cancel", token)
        return _cancel_rest(act) if _begin_cancel(act, actor) else 0


@again
def _begin_cancel(act: _Act, actor: str | None) -> bool:
    with act.engine.write() as tx:
        now = act.engine.now()
        row = tx.one("begin_cancel", {"no": act.batch_no, "now": now, "loader": act.token})
        if row is None:
            return False
        tx.run("gate_cancel", {"no": act.batch_no})
        told = tx.run("tell_held_of_batch", {"no": act.batch_no})
        tx.run("raise_control")
        event(tx, "cancel", now, organization=row[0], batch_no=act.batch_no, actor=actor, detail={"running": told})
        return True


def _cancel_rest(act: _Act) -> int:
    ended = 0
    while chunk := _cancel_some(act):
        ended += chunk
    return ended


@again
def _cancel_some(act: _Act) -> int:
    with act.engine.write() as tx:
        if not act.ours(tx):
            return 0
        now = act.engine.now()
        params = {"no": act.batch_no, "now": now, "limit": _CHUNK}
        gone = tx.all("cancel_pending", params)
        if len(gone) < _CHUNK:
            gone += tx.all("cancel_suspects", params) + tx.all("cancel_waiting", params)
        woken = _leave_lanes(tx, act.batch_no, gone, now)
        if gone:
            change_counts(tx, act.batch_no, Counter({ItemState.CANCELLED: len(gone)}), now)
            wake(tx, woken)
        else:
            act.end(tx)
        return len(gone)


def _leave_lanes(tx: Tx, batch_no: int, gone: list[Row], now: int) -> set[int]:
    """The lanes of these items go on with others. Returns the batches of which something is pending now."""
    left = {lane_no for (lane_no,) in gone if lane_no is not None}
    lanes.close(tx, batch_no, left)
    return lanes.freed(tx, left, now)


def cancel_items(engine: Engine, item_ids: Collection[int], actor: str | None) -> int:
    """Cancel single items: what waits ends at once, what runs is told. Returns how many ended at once."""
    ended, left = 0, iter(item_ids)
    while chunk := list(islice(left, _CHUNK)):
        ended += _cancel_chunk(engine, chunk, actor)
    return ended


@again
def _cancel_chunk(engine: Engine, item_ids: list[int], actor: str | None) -> int:
    with engine.write() as tx:
        ended = sum(_cancel_item(tx, number, actor, engine.now()) for number in item_ids)
        tx.run("raise_control")
    return ended


def _cancel_item(tx: Tx, number: int, actor: str | None, now: int) -> bool:
    row = tx.one("cancel_item", {"id": number, "now": now})
    if row is None:
        tx.run("tell_item", {"id": number})
        return False
    woken = _leave_lanes(tx, row[0], [(row[2],)], now)
    count_final(tx, [(row[0], ItemState.CANCELLED)], now)
    wake(tx, woken)
    event(tx, "cancel", now, organization=row[1], batch_no=row[0], item_id=number, actor=actor)
    return True


@dataclass(frozen=True, slots=True)
class _Retry:
    """A retry and how far it has come; stored with the batch, so that recovery goes on from there.

    payloads   key → JSON text: only items with these keys, with this payload and a new idempotency key
    files      item number → JSON text of the file's facts as they are now
    bound      payloads or files go with it: where its process dies, nobody can go on
    """

    selection: Selection
    actor: str | None
    from_start: bool
    payloads: Mapping[str, str] | None = field(default=None, repr=False)
    files: Mapping[int, str] | None = field(default=None, repr=False)
    bound: bool = False
    after: int = 0
    count: int = 0

    def detail(self) -> str:
        facts = {"actor": self.actor, "from_start": self.from_start, "bound": self.bound}
        return json.dumps(facts | {"after": self.after, "count": self.count, "selection": asdict(self.selection)})

    @staticmethod
    def of(detail: str) -> _Retry:
        facts = json.loads(detail)
        chosen = facts.pop("selection")
        chosen["ids"] = None if chosen["ids"] is None else tuple(chosen["ids"])
        return _Retry(Selection(**chosen), **facts)

    def wants(self, key: str) -> bool:
        return self.payloads is None or key in self.payloads


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

    Raises UsageError where another process cancels or retries the batch at this moment.
    """
    bound = payloads is not None or files is not None
    plan = _Retry(selection, actor, from_start, payloads, files, bound)
    _finish(engine, snapshot(engine, lambda tx: tx.all("bulk_of_batch", {"no": batch_no})))
    if not _any(engine, batch_no, plan):
        return 0
    with presence(engine) as token:
        act = _Act(engine, batch_no, "retry", token)
        _begin_retry(act, plan)
        return _retry_rest(act, plan)


@again
def _begin_retry(act: _Act, plan: _Retry) -> None:
    with act.engine.write() as tx:
        if not tx.run("begin_retry", {"no": act.batch_no, "detail": plan.detail(), "loader": act.token}):
            raise UsageError(
                "the batch is being cancelled or retried by another command", hint="try again when that is done"
            )
        open_group(tx, act.batch_no, act.engine.now())


@again
def _any(engine: Engine, batch_no: int, plan: _Retry) -> bool:
    with engine.read() as tx:
        if plan.payloads is None:
            return bool(tx.all("retriable_items", {"no": batch_no, "after": 0, "limit": 1} | plan.selection.params()))
        page = {"no": batch_no, "after": 0, "limit": -1} | plan.selection.params()
        return any(plan.wants(key) for _, _, key in tx.stream("retriable_items", page))


def _retry_rest(act: _Act, plan: _Retry) -> int:
    while True:
        further = _retry_some(act, plan)
        if further is None:
            return plan.count
        plan = further


@again
def _retry_some(act: _Act, plan: _Retry) -> _Retry | None:
    """One chunk. Returns how far the retry has come now; None where it is done."""
    chosen = plan.selection.params()
    with act.engine.read() as tx:  # the search may be long: it must not hold the write lock
        page = tx.all("retriable_items", chosen | {"no": act.batch_no, "after": plan.after, "limit": _CHUNK})
    with act.engine.write() as tx:
        ours = act.ours(tx)
        if ours and page:
            found = tx.all("still_retriable", chosen | {"ids": json.dumps([row[0] for row in page])})
            wanted = [row for row in found if plan.wants(row[2])]
            _send_back(tx, act, plan, wanted)
            further = replace(plan, after=page[-1][0], count=plan.count + len(wanted))
            tx.run("note_bulk_progress", {"no": act.batch_no, "detail": further.detail()})
            return further
        _note_retry(tx, act, plan)
        if ours:
            act.end(tx)
        return None


def _send_back(tx: Tx, act: _Act, plan: _Retry, rows: list[Row]) -> None:
    if not rows:
        return
    ids = [row[0] for row in rows]
    tx.run("retry_items", {"ids": json.dumps(ids)})
    tx.run("delete_results_of", {"ids": json.dumps(ids)})
    file_acts.forget(tx, ids)
    anew = plan.from_start or plan.payloads is not None or plan.files is not None  # what they found was of other input
    steps.begin_again(tx, ids, from_start=anew)
    if plan.payloads is not None:
        tx.many("new_payload", [{"id": number, "payload": plan.payloads[key]} for number, _, key, _ in rows])
    if plan.files is not None:
        tx.many("reread_file", [{"id": one, "file": plan.files[one]} for one in ids if one in plan.files])
    released = _line_up(tx, act, rows)
    taken = Counter(ItemState(row[1]) for row in rows)
    change = Counter({state: -number for state, number in taken.items()})
    change_counts(tx, act.batch_no, change, act.engine.now(), failures=0)  # what was counted before is forgotten
    wake(tx, released | {act.batch_no})


def _line_up(tx: Tx, act: _Act, rows: list[Row]) -> set[int]:
    """Those that have a lane wait for it; a lane that one of them held goes on. Returns the batches to wake."""
    laned = [(row[0], act.batch_no, row[3]) for row in rows if row[3] is not None]
    lanes.let_go(tx, (row[2] for row in laned))
    lanes.back_to_lane(tx, laned)
    return lanes.freed(tx, (row[2] for row in laned), act.engine.now())


def _note_retry(tx: Tx, act: _Act, plan: _Retry) -> None:
    organization = tx.value("batch_organization", {"no": act.batch_no})
    now = act.engine.now()
    event(tx, "retry", now, organization=organization, batch_no=act.batch_no, actor=plan.actor, count=plan.count)
    tx.run("raise_control")


def finish_interrupted(engine: Engine, *, patience: float | None = None, org: str | None = None) -> int:
    """Go on with bulk acts whose process is gone. Returns how many. What failure limits have begun is left to the next
    one who looks after `patience` seconds: a worker that calls this has other things to do."""
    left = snapshot(engine, lambda tx: tx.all("bulk_left", {"org": org}))
    if patience is None:
        return _finish(engine, left)
    carry_on(engine, patience, org)
    return _finish(engine, [row for row in left if row[2] != limits.STOPPED])


def carry_on(engine: Engine, seconds: float, org: str | None = None) -> bool:
    """Cancel what failure limits have left, for about so long. True where more is to be done."""
    deadline = time.monotonic() + seconds
    found = snapshot(engine, lambda tx: tx.all("bulk_left", {"org": org}))
    left = [row for row in found if row[2] == limits.STOPPED]
    for batch_no, kind, _ in left:
        with presence(engine) as token:
            act = _Act(engine, batch_no, kind, token)
            if _take_over(act, limits.STOPPED) is not None and not _cancel_until(act, deadline):
                return True
    return False


def _cancel_until(act: _Act, deadline: float) -> bool:
    """False where it was not finished in time; whoever looks next goes on."""
    while _cancel_some(act):
        if time.monotonic() > deadline:
            _leave(act)
            return False
    return True


@again
def _leave(act: _Act) -> None:
    with act.engine.write() as tx:
        params = {"no": act.batch_no, "bulk": act.kind, "loader": limits.STOPPED, "gone": act.token}
        tx.one("take_bulk_over", params)


def _finish(engine: Engine, left: list[Row]) -> int:
    finished = 0
    for batch_no, kind, gone in left:
        if engine.alive(gone):
            continue
        with presence(engine) as token:
            act = _Act(engine, batch_no, kind, token)
            row = _take_over(act, gone)
            if row is not None:
                finished += 1
                _go_on(act, row[0])
    return finished


@again
def _take_over(act: _Act, gone: str) -> Row | None:
    """The act's progress; None where it has ended since we looked, or somebody else goes on with it."""
    with act.engine.write() as tx:
        params = {"no": act.batch_no, "bulk": act.kind, "loader": act.token, "gone": gone}
        return tx.one("take_bulk_over", params)


def _go_on(act: _Act, detail: str) -> None:
    if act.kind == "cancel":
        _cancel_rest(act)
        return
    plan = _Retry.of(detail)
    if not plan.bound:
        _retry_rest(act, plan)
        return
    _give_up(act, plan)


@again
def _give_up(act: _Act, plan: _Retry) -> None:
    with act.engine.write() as tx:
        if act.ours(tx):
            _note_retry(tx, act, plan)
            act.end(tx)
