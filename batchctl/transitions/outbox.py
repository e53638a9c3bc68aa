"""The outbox: messages are written in the commit of what they tell of, claimed like items, and kept until they are
sent or given up.

A row names its target by the target's id in the config; what a URL holds of credentials never comes here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from batchctl.announce import Alert, Announcer, BatchEnd, FailureGroup, Notice
from batchctl.engines.base import Row, Tx
from batchctl.transitions.common import event

KEPT = 23 * 3_600_000  # ms: targets that know repeats by a key forget it after 24 h
CLAIMED = 2 * 3_600_000  # ms: a sender that lives but is stuck (stopped) for so long has lost its claim
DEAD = "notification_dead"
_SAMPLE = 10_000  # failed items that are looked at while the write lock is held: about 20 ms
_PATTERNS = 3


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message in a sender's hands. `attempts` counts this one."""

    id: int
    batch_no: int | None
    run_no: int | None
    organization: str
    event: str
    target: str
    message: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Sent:
    """How it ended: no `error`: it was sent. Without `again_at` (ms UTC) it is not tried again."""

    notice: Claimed
    error: str | None = None
    again_at: int | None = None


def announce_end(tx: Tx, batch_no: int, end: str, now: int) -> None:
    """The messages about a batch that ends in this transaction; before its event is written."""
    announcer = tx.announcer
    if announcer is None:
        return
    row = tx.one("ended_batch", {"no": batch_no})
    assert row is not None
    if not announcer.wants(end, row[2], row[3] or None):
        return
    facts = _facts(tx, batch_no, end, now, row)
    _insert(tx, announcer.batch_ended(facts), end, now, facts.organization, batch_no, facts.run_no)


def _facts(tx: Tx, batch_no: int, end: str, now: int, row: Row) -> BatchEnd:
    _id, name, processor, organization, user, kind, run_no, total, completed, failed, cancelled, created, begun = row
    if run_no > 1:
        begun = tx.value("reopened_at", {"no": batch_no}) or begun
    asked = {"no": batch_no, "sample": _SAMPLE, "limit": _PATTERNS}
    failures = tuple(FailureGroup(*row) for row in tx.all("frequent_failures", asked)) if failed else ()
    counts = (run_no, total, completed, failed, cancelled)
    who = (_id, name, processor, organization, user, kind)
    return BatchEnd(end, now, *who, *counts, created, begun or now, failures, min(failed, _SAMPLE))


def announce_alert(tx: Tx, alert: Alert, now: int, *, but: str | None = None) -> None:
    """The messages about an alert that is raised or cleared in this transaction; none for the target `but`."""
    announcer: Announcer | None = tx.announcer
    if announcer is not None and announcer.wants("alert", alert.processor, alert.organization):
        _insert(tx, announcer.alert(alert, but=but), "alert", now, alert.organization or "", None, None)


def _insert(
    tx: Tx,
    notices: Iterable[Notice],
    name: str,
    now: int,
    organization: str,
    batch_no: int | None,
    run_no: int | None,
) -> None:
    for notice in notices:
        row = {
            "batch_no": batch_no,
            "run_no": run_no,
            "organization": organization,
            "event": name,
            "target": notice.target,
            "message": notice.message,
            "now": now,
            "expires_at": now + KEPT,
        }
        tx.run("insert_notice", row)


def due(tx: Tx, targets: Collection[str], now: int, org: str | None = None) -> bool:
    """Whether `claim` would find something."""
    return bool(tx.value("any_due_notice", {"now": now, "targets": json.dumps(sorted(targets)), "org": org}))


def claim(
    tx: Tx, sender: str, targets: Collection[str], now: int, *, limit: int, each: int, org: str | None = None
) -> list[Claimed]:
    """Messages that are due, at most `limit` and `each` of one target; they are the sender's until it records. `org`:
    only those of this organization."""
    params = {"sender": sender, "until": now + CLAIMED, "now": now, "targets": json.dumps(sorted(targets)), "org": org}
    rows = tx.all("claim_notices", params | {"limit": limit, "each": each})
    return [_claimed(row) for row in sorted(rows)]


def _claimed(row: Sequence[object]) -> Claimed:
    number, batch_no, run_no, organization, name, target, message, attempts = row
    return Claimed(number, batch_no, run_no, organization, name, target, bytes(message), attempts)  # type: ignore[arg-type,call-overload]


def senders(tx: Tx) -> list[tuple[str, int]]:
    """Who holds messages, and until when (ms UTC)."""
    return [(row[0], row[1]) for row in tx.all("senders")]


def release(tx: Tx, sender: str, now: int) -> int:
    """What a sender holds is due again. Returns how many."""
    return tx.run("release_sender", {"sender": sender, "now": now})


def record(tx: Tx, sender: str, ended: Iterable[Sent], now: int) -> list[Sent]:
    """Store how sending ended. Returns what is now dead; what is no longer the sender's changes nothing."""
    dead = []
    for one in ended:
        if one.error is None:
            if tx.run("notice_sent", {"id": one.notice.id, "sender": sender, "now": now}):
                _note(tx, "notified", one.notice, now)
            continue
        expires = tx.value("notice_expiry", {"id": one.notice.id}) or 0
        again = one.again_at if one.again_at is not None and one.again_at < expires else None
        row = {"id": one.notice.id, "sender": sender, "error": one.error, "next_attempt_at": again}
        if tx.run("notice_failed", row | {"state": "dead" if again is None else "due"}) and again is None:
            dead.append(one)
            _bury(tx, one.notice, one.error, now)
    return dead


def any_expired(tx: Tx, now: int, org: str | None = None) -> bool:
    """Whether `expire` would find something."""
    return bool(tx.value("any_expired_notice", {"now": now, "org": org}))


def expire(tx: Tx, now: int, org: str | None = None) -> list[Sent]:
    """Give up what nobody could send for 23 hours. Returns it."""
    dead = []
    given_up = {"now": now, "error": "no sender here knows this target", "org": org}
    for *row, error in tx.all("expired_notices", given_up):
        dead.append(Sent(_claimed(row), error))
        _bury(tx, dead[-1].notice, error, now)
    return dead


def _bury(tx: Tx, notice: Claimed, error: str, now: int) -> None:
    """It is dead: the audit trail and the other targets are told; about a lost alert nobody is told by an alert."""
    _note(tx, DEAD, notice, now, error)
    if notice.event != "alert":
        message = f"a message ({notice.event}) to {notice.target} could not be sent and is given up: {error}"
        alert = Alert(DEAD, message, organization=notice.organization or None, command="batchctl notify list")
        announce_alert(tx, alert, now, but=notice.target)


def _note(tx: Tx, name: str, notice: Claimed, now: int, error: str | None = None) -> None:
    detail = {"message": notice.event, "target": notice.target} | ({"error": error} if error else {})
    event(tx, name, now, organization=notice.organization, batch_no=notice.batch_no, detail=detail)


def postpone(tx: Tx, target: str, until: int) -> None:
    """Nothing goes to a target before then: it was down, or asked for a pause."""
    tx.run("postpone_target", {"target": target, "at": until})


def send_again(tx: Tx, ids: Iterable[int], now: int) -> int:
    """Dead (or due) messages are due now, with fresh attempts and another 23 hours. Returns how many."""
    return sum(tx.run("retry_notice", {"id": number, "now": now, "expires_at": now + KEPT}) for number in ids)
