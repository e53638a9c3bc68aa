"""Alerts: raised once and cleared once, each with its messages in the same commit; and what `check` remembers for
them from one pass to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchctl.announce import Alert
from batchctl.engines.base import Tx
from batchctl.transitions.outbox import announce_alert


@dataclass(frozen=True, slots=True)
class Open:
    """An alert as it stands in the store. `raised_at` in ms UTC."""

    id: int
    name: str
    subject: str
    processor: str | None
    organization: str
    message: str
    hint: str | None
    raised_at: int


def open_alerts(tx: Tx) -> list[Open]:
    """Those that were raised and not cleared, oldest first."""
    return [Open(*row) for row in tx.all("open_alerts")]


def raise_alert(tx: Tx, alert: Alert, subject: str, hint: str | None, now: int) -> bool:
    """False where it is open already: then nothing is told."""
    about: dict[str, Any] = {"name": alert.name, "subject": subject, "processor": alert.processor}
    about["organization"] = alert.organization or ""
    if not tx.run("raise_alert", about | {"message": alert.message, "hint": hint, "now": now}):
        return False
    announce_alert(tx, alert, now)
    return True


def clear_alert(tx: Tx, one: Open, now: int) -> bool:
    """False where somebody else has cleared it."""
    if not tx.run("clear_alert", {"id": one.id, "now": now}):
        return False
    over = Alert(
        one.name,
        one.message,
        raised=False,
        since=one.raised_at,
        processor=one.processor,
        organization=one.organization or None,
    )
    announce_alert(tx, over, now)
    return True


def watched(
    tx: Tx, name: str, marks: Mapping[str, str], now: int, *, whole: bool = True
) -> tuple[dict[str, int], bool]:
    """(since when each subject has stood as `marks` says, whether `watch` has something to note). ms UTC. Not `whole`:
    there are others, which do not matter here."""
    rows = tx.all("watched", {"name": name})
    known = {subject: (mark, since) for subject, mark, since in rows if whole or subject in marks}
    since = {
        subject: known[subject][1] if subject in known and known[subject][0] == mark else now
        for subject, mark in marks.items()
    }
    fresh = {subject: min(at, now) for subject, at in since.items()}  # a clock that was set back
    return fresh, {subject: (marks[subject], at) for subject, at in fresh.items()} != known


def watch(tx: Tx, name: str, marks: Mapping[str, str], now: int, *, whole: bool = True) -> None:
    """Note how the subjects stand now, and (with `whole`) forget all others of that name."""
    known = {subject: (mark, since) for subject, mark, since in tx.all("watched", {"name": name})}
    for subject, mark in marks.items():
        if subject not in known or known[subject][0] != mark or known[subject][1] > now:
            tx.run("set_watch", {"name": name, "subject": subject, "mark": mark, "now": now})
    if whole:
        forget(tx, name, known.keys() - marks.keys())


def forget(tx: Tx, name: str, subjects: Iterable[str]) -> None:
    for subject in subjects:
        tx.run("drop_watch", {"name": name, "subject": subject})
