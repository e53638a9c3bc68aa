"""What waits in the queue for something that will not come by itself."""

from __future__ import annotations

from collections.abc import Iterator

from batchctl.doctor.base import Finding, Patient, check
from batchctl.engines.again import snapshot


@check
def _processors(patient: Patient) -> Iterator[Finding]:
    if patient.store is None:
        return
    where = {"org": patient.organization}
    waiting, broken = snapshot(
        patient.store.engine, lambda tx: (tx.all("doctor_waiting", where), tx.all("doctor_broken"))
    )
    known = patient.config.processors if patient.config else {}
    bad = 0
    for name, batches, items in waiting if patient.config else ():
        if name not in known:
            bad += 1
            count = f"{items:,} item{'' if items == 1 else 's'} of {batches:,} batch{'' if batches == 1 else 'es'}"
            mend = f"give it back its name in the config, or cancel them (`batchctl list --processor {name}`)"
            yield Finding("processors", "problem", f"{count} wait for {name}, which this config does not know", mend)
    for name, _, kind, message, whose in broken:
        bad += 1
        told = f"{kind}: {message}" if patient.organization is None or whose in (None, patient.organization) else kind
        mend = f"mend it and the work goes on by itself, or `batchctl resume --processor {name}`"
        yield Finding("processors", "problem", f"{name} is broken: {told}", mend)
    if not bad:
        yield Finding("processors", "ok", "none is broken, and nothing waits for one that is not known")


@check
def _workers(patient: Patient) -> Iterator[Finding]:
    from batchctl.recovery import Health, health

    if patient.store is None:
        return
    engine = patient.store.engine
    rows = snapshot(engine, lambda tx: tx.dicts("all_workers"))
    gone = [row for row in rows if health(engine, row) is not Health.ALIVE]
    for row in gone:
        text = f"worker {row['id']} on {row['host']} is gone, and what it held waits"
        yield Finding("workers", "warning", text, "batchctl check")
    if rows and not gone:
        yield Finding("workers", "ok", f"{len(rows)} alive")


@check
def _notifications(patient: Patient) -> Iterator[Finding]:
    if patient.store is None:
        return
    where = {"org": patient.organization}
    counts: dict[str, int] = dict(snapshot(patient.store.engine, lambda tx: tx.all("view_notice_counts", where)))
    if dead := counts.get("dead", 0):
        text = f"{dead:,} message{'' if dead == 1 else 's'} could not be delivered"
        yield Finding("notifications", "problem", text, "batchctl notify list, then batchctl notify retry")
    elif counts:
        yield Finding("notifications", "ok", f"{counts.get('sent', 0):,} sent, {counts.get('due', 0):,} due")
