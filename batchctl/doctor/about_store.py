"""The store: whether it opens, is whole, and belongs to us alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from batchctl.doctor.base import Finding, Level, Patient, check
from batchctl.errors import StoreMissing

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@check
def _store(patient: Patient) -> Iterator[Finding]:
    error = patient.store_error
    if isinstance(error, StoreMissing):
        yield Finding("store", "ok", f"none at {patient.target} yet: the first `batchctl enqueue` makes it")
    elif error is not None:
        yield Finding("store", "problem", error.message, error.hint)
    elif patient.store is not None:
        upkeep = patient.store.engine.upkeep()
        size, _ = upkeep.space()
        about = upkeep.about() + ("" if size is None else f", {size / 1_000_000:,.1f} MB")
        damage = upkeep.examine()
        if damage:
            mend = "restore a backup, or save what can be read with `sqlite3 FILE .recover`"
            yield Finding("store", "problem", f"{patient.target} is damaged: {'; '.join(damage[:3])}", mend)
        else:
            yield Finding("store", "ok", f"{patient.target}: {about}, no damage found")


@check
def _store_permissions(patient: Patient) -> Iterator[Finding]:
    path = patient.store_path
    if path is None or not path.exists():
        return
    run = path.with_name(path.name + ".run")
    known = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")] + [run]
    there = {found: found.stat() for found in known if found.exists()}
    bad = False
    if open_to_others := [found for found, facts in there.items() if facts.st_mode & _OTHERS]:
        bad = True
        names = " ".join(map(str, open_to_others))
        yield Finding("permissions", "problem", f"others may look into {names}", f"chmod go-rwx {names}")
    if foreign := [found for found, facts in there.items() if facts.st_uid != os.geteuid()]:
        bad = True
        text = f"{' '.join(map(str, foreign))}: of user {there[foreign[0]].st_uid}, and you are {os.geteuid()}"
        level: Level = "problem" if os.geteuid() else "warning"
        yield Finding("permissions", level, text, "use the store as its owner, or chown all of these")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        bad = True
        text = f"the folder {path.parent} may not be written, and SQLite needs to"
        yield Finding("permissions", "problem", text, f"chown it to the user that runs batchctl: {path.parent}")
    if not bad:
        yield Finding("permissions", "ok", "the store is readable by its owner alone")


@check
def _wrong_links(patient: Patient) -> Iterator[Finding]:
    """A store behind a link: another name for it would have other locks beside it."""
    path = patient.store_path
    if path is not None and path.is_symlink():
        target = Path(os.path.realpath(path))
        text = f"{path} is a link: who opens {target} by that name has other locks beside it"
        yield Finding("store", "problem", text, f"name {target} as the store everywhere")
