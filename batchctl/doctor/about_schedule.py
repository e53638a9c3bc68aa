"""Whether something runs `check`, and whether it really does."""

from __future__ import annotations

import time
from collections.abc import Iterator

from batchctl.doctor.base import Finding, Patient, check
from batchctl.idle_note import last_check

_SLACK = 300.0  # seconds


@check
def _schedule(patient: Patient) -> Iterator[Finding]:
    checks = [one for one in patient.installed if one.part == "check"]
    last = last_check(patient.store.engine) if patient.store is not None else None
    age = None if last is None else max(0.0, time.time() - last.ended_at / 1000)
    ago = "never" if age is None else f"{_spoken(age)} ago"
    for one in checks:
        late = age is None or age > 2 * one.every + _SLACK
        young = one.since is not None and time.time() - one.since < 2 * one.every + _SLACK
        text = f"{one.kind}, every {_spoken(one.every)} ({one.place}); the last check ended {ago}"
        if late and young:
            yield Finding("schedule", "ok", f"{text}; it was installed a moment ago")
        elif late and age is None and one.since is None:
            yield Finding("schedule", "warning", f"it has not fired yet: {text}", one.look)
        elif late:
            yield Finding("schedule", "problem", f"it does not fire: {text}", one.look)
        else:
            yield Finding("schedule", "ok", text)
    if not checks:
        if age is not None and age < 86_400:
            yield Finding("schedule", "ok", f"something runs check: the last one ended {ago}")
        elif patient.store is not None or patient.config is not None:
            mend = "batchctl schedule systemd --install, or batchctl schedule cron --install"
            last_one = "none has ended yet" if age is None else f"the last one ended {ago}"
            yield Finding("schedule", "warning", f"nothing here runs check; {last_one}", mend)
    if last is not None and last.code:
        text = f"the last check ended with {last.code}"
        yield Finding("schedule", "warning", text, "batchctl check -v")


def _spoken(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
