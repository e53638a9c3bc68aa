"""The machine: disk, clock, open files."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from batchctl.doctor.base import Finding, Patient, check
from batchctl.engines.again import snapshot

_FEW_FILES = 1_000  # inodes
_BASE_FDS = 64  # the program itself: store, locks, sockets
_FDS_A_SLOT = 10  # a running command: memory files, pipes, its process; a request: its connection and file
_FIRST_YEAR = 1_735_689_600  # 2025 in seconds: before that the clock was never set
_AHEAD_MS = 60_000


@check
def _disk(patient: Patient) -> Iterator[Finding]:
    path = patient.store_path
    if path is None:
        return
    folder: Path = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    least = patient.config.worker.min_free if patient.config else 0
    text = f"{free / 1_000_000:,.0f} MB free at {folder}"
    if free < least:
        mend = "free some space, `batchctl cleanup`, or lower worker.min_free"
        yield Finding("disk", "problem", f"{text}, less than worker.min_free: nothing is started", mend)
    elif free < 2 * least:
        yield Finding(
            "disk", "warning", f"{text}; below {least / 1_000_000:,.0f} MB nothing is started", "free some space"
        )
    else:
        yield Finding("disk", "ok", text)
    left = os.statvfs(folder)
    if left.f_files and left.f_favail < _FEW_FILES:
        yield Finding("disk", "problem", f"only {left.f_favail} more files fit at {folder}", "delete small files there")


@check
def _clock(patient: Patient) -> Iterator[Finding]:
    now = time.time()
    if now < _FIRST_YEAR:
        yield Finding("clock", "problem", "the clock was never set", "timedatectl set-ntp true")
        return
    newest = None
    if patient.store is not None:
        newest = snapshot(patient.store.engine, lambda tx: tx.value("doctor_newest_event"))
        ahead = newest - patient.store.engine.now() if newest is not None else 0
        if ahead > _AHEAD_MS:
            text = f"the clock is {ahead / 60_000:,.0f} min behind the newest entry of the store: it was put back"
            mend = "set the clock right (timedatectl); retries and schedules wait for the later time"
            yield Finding("clock", "problem", text, mend)
            return
        skew = abs(patient.store.engine.now() / 1000 - time.time())
        if skew > 60:
            text = f"this machine's clock and the database's differ by {skew:,.0f} s"
            yield Finding("clock", "warning", text, "set both right (timedatectl set-ntp true); the database's counts")
            return
    yield Finding("clock", "ok", "not behind the store")


@check
def _open_files(patient: Patient) -> Iterator[Finding]:
    if patient.config is None:
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    slots = patient.config.worker.concurrency
    wanted = _BASE_FDS + _FDS_A_SLOT * slots
    text = f"{slots} items at once may need {wanted} open files, and {soft} are allowed"
    if soft != resource.RLIM_INFINITY and soft < wanted:
        mend = f"ulimit -n {wanted}, LimitNOFILE={wanted} in the unit, or a lower worker.concurrency"
        yield Finding("open files", "problem", text, mend)
    else:
        yield Finding("open files", "ok", text)
