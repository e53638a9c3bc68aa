"""What follows from an outage later on, in small portions with each claim: refunds, probes, and going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from batchctl.engines.base import Row, Tx
from batchctl.guard import Origin
from batchctl.model import ItemState
from batchctl.transitions.outages import troubled
from batchctl.transitions.recording import change_counts

_PORTION = 1_000  # items
_CANDIDATES = 50

Covers = Callable[[int, str, str], bool]  # batch, processor, organization: whether the claimer takes it


@dataclass(frozen=True, slots=True)
class Tended:
    """The origins in trouble, and whether something was changed that others may wait for."""

    origins: Sequence[Origin] = ()
    changed: bool = False


def tend(tx: Tx, covers: Covers, now: int) -> Tended:
    """Go on with what outages have left to do. `covers`: which items the caller could claim as a probe."""
    origins = troubled(tx)
    if not origins:
        return Tended()
    changed = False
    found = []
    for origin in origins:
        after, did = _tend(tx, origin, covers, now)
        found.append(after)
        changed = changed or did
    return Tended(found, changed)


def _tend(tx: Tx, origin: Origin, covers: Covers, now: int) -> tuple[Origin, bool]:
    left = origin.refund or origin.resuming or origin.expired(now)
    lost = origin.out_since is not None and origin.probe_at is None and not left and not _probed(tx, origin)
    if (left or lost) and tx.value("lock_origin", _where(origin)) is None:
        return origin, False
    if origin.refund:
        if not _refund(tx, origin, now):
            return origin, True
        after, _ = _tend(tx, replace(origin, refund=False), covers, now)
        return after, True
    if left:
        return origin, _resume(tx, origin, now)
    if origin.out_since is None:
        return origin, False
    if lost:
        tx.run("probe_again", _where(origin) | {"now": now})
        origin = replace(origin, probe_at=now, probe_item=None, probe_claim=None)
    if origin.probe_at is not None and origin.probe_at <= now:
        return _send_probe(tx, origin, covers, now)
    return origin, False


def _where(origin: Origin) -> dict[str, str]:
    return {"processor": origin.processor, "origin": origin.origin}


# -- tries from before the guard tripped


def _refund(tx: Tx, origin: Origin, now: int) -> bool:
    """True where that was all."""
    where = _where(origin)
    reopened: Counter[int] = Counter()
    for number, claim_no, batch_no, may_reopen in tx.all("refundable", where | {"limit": _PORTION}):
        claim = {"item_id": number, "claim_no": claim_no}
        if tx.run("refund_attempt", claim):
            tx.run("refund_item", {"item_id": number})
        waits = tx.run("await_outage", {"item_id": number})
        if not waits and may_reopen and tx.run("reopen_failed", claim):
            tx.run("drop_result", (number,))
            reopened[batch_no] += 1
            waits = 1
        tx.run("now_awaits" if waits else "forget_failure", claim)
    for batch_no in sorted(reopened):
        change_counts(tx, batch_no, Counter({ItemState.FAILED: -reopened[batch_no]}), now)
    done = tx.value("failures_left", where) is None
    if done:
        tx.run("refunds_done", where)
    return done


# -- it answers again, or has been out for too long


def _resume(tx: Tx, origin: Origin, now: int) -> bool:
    where = _where(origin)
    rows = tx.all("items_of_outage", where | {"limit": _PORTION})
    _let_go(tx, rows, now)
    if len(rows) < _PORTION:
        tx.run("forget_stale_outage_items", where)
        if tx.value("outage_items_left", where) is None and origin.resuming:
            tx.run("resuming_done", where)
    return bool(rows) or origin.resuming


def _let_go(tx: Tx, rows: Sequence[Row], now: int) -> None:
    if rows:
        tx.many("end_outage_wait", [(now, row[0]) for row in rows])
        tx.many("forget_outage_item", [row[:1] for row in rows])


# -- probes


def _probed(tx: Tx, origin: Origin) -> bool:
    """Whether the item that probes is still at it."""
    if origin.probe_item is None:
        return False
    about = {"item": origin.probe_item, "claim": origin.probe_claim}
    return tx.value("probe_lives", about) is not None


def _send_probe(tx: Tx, origin: Origin, covers: Covers, now: int) -> tuple[Origin, bool]:
    """One of the items that wait may go. Where the whole processor is shut, whichever is claimed next is the probe;
    else it is this one, and whoever claims it lets it through."""
    if tx.value("lock_probe", _where(origin) | {"now": now}) is None:
        return origin, False
    rows = tx.all("items_of_outage", _where(origin) | {"limit": _CANDIDATES})
    chosen = next((row for row in rows if covers(row[1], row[3], row[4])), None)
    if chosen is None:
        return origin, False
    _let_go(tx, [chosen], now)
    if origin.gates:
        return origin, True
    begin_probe(tx, origin, chosen[0], chosen[2] + 1)
    return replace(origin, probe_at=None, probe_item=chosen[0], probe_claim=chosen[2] + 1), True


def begin_probe(tx: Tx, origin: Origin, item: int, claim_no: int) -> None:
    """From now on this item is the only one that asks the origin."""
    tx.run("begin_probe", _where(origin) | {"item": item, "claim": claim_no})


def rooms(tx: Tx, origins: Sequence[Origin], now: int, *, take: bool) -> Mapping[str, Origin | None]:
    """Processors that an outage shuts: the origin that one item may probe now, or None. `take`: nobody else probes it
    until the transaction's end."""
    found: dict[str, Origin | None] = {}
    for origin in origins:
        if not (origin.out(now) and origin.gates):
            continue
        due = origin.probe_at is not None and origin.probe_at <= now and not origin.refund
        may = due and (not take or tx.value("lock_probe", _where(origin) | {"now": now}) is not None)
        found[origin.processor] = origin if may and found.get(origin.processor, origin) is not None else None
    return found
