"""Moving and deleting files so that it can be done again and again, and never costs anybody a file.

A file moves only while it is what was enqueued, never over another one (it gets a number then), and whole: to another
file system it is copied beside its new place first. What was interrupted is recognised by its content.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from batchctl.config import ProcessorConfig
from batchctl.config.structs import DELETE, After, FileAct
from batchctl.engines.base import Engine, Tx
from batchctl.model import FileRef, Item, ItemState
from batchctl.processors.files import check
from batchctl.transitions import file_acts
from batchctl.transitions.file_acts import Intent
from batchctl.transitions.recording import Settled

_MOST_NAMES = 10_000
_NOREPLACE = 1  # of renameat2
_AT_FDCWD = -100
_COPY = 1 << 20  # bytes


class Left(Exception):
    """The file stays where it is, for good; the message says why."""


class ElsewhereError(OSError):
    """It can't be renamed from there to here: it has to be copied."""


def intents(
    recorded: Iterable[Settled], items: Iterable[Item], config: Callable[[Item], ProcessorConfig]
) -> list[Intent]:
    """What becomes of the files of those that are final now."""
    final = {(one.item_id, one.claim_no): one.state for one in recorded if one.state.final}
    found = []
    for item in items:
        if item.file is None or (state := final.get((item.number, item.claim_no))) is None:
            continue
        one = intent(item.number, state, config(item).after)
        if one is not None:
            found.append(one)
    return found


def intent(item_id: int, state: ItemState, after: After | None) -> Intent | None:
    """The same for one item."""
    act: FileAct | None = None
    if after is not None and state in (ItemState.COMPLETED, ItemState.FAILED):
        act = after.completed if state is ItemState.COMPLETED else after.failed
    if act is None:
        return None
    return Intent(item_id, state.value, None if act == DELETE else str(act))


def given_up(engine: Engine, config: Mapping[str, ProcessorConfig]) -> Callable[[Tx, Sequence[Settled], int], None]:
    """Notes what becomes of the files of items that recovery gives up; to be called in the commit that does."""
    after = {name: one.after for name, one in config.items() if one.after is not None}

    def note(tx: Tx, recorded: Sequence[Settled], now: int) -> None:
        failed = [one for one in recorded if one.state is ItemState.FAILED]
        if not after or not failed:
            return
        nos = json.dumps(sorted({one.batch_no for one in failed}))
        processors = {row[9]: row[7] for row in tx.all("batch_refs", {"nos": nos})}
        found = [intent(one.item_id, one.state, after.get(processors[one.batch_no])) for one in failed]
        file_acts.intend(tx, [one for one in found if one is not None], file_acts.host_of(engine), now)

    return note


@dataclass(frozen=True, slots=True)
class Ready:
    """All that takes long is done; `finish` does the rest.

    path     where the file will be; None: it goes
    source   what is renamed to there: the file, or its copy; None: nothing is left to be renamed
    remove   what goes then
    """

    path: Path | None
    source: Path | None = None
    remove: Path | None = None


def prepare(file: FileRef, folder: Path | None, number: int, *, copy: bool = False) -> Ready:
    """Look at the file and, where it goes to another file system (or with `copy`), copy it. `number` names the copy.

    Raises Left, OSError.
    """
    source = Path(file.path)
    if folder is None:
        return _prepare_delete(file, source)
    if not os.path.lexists(source):
        return Ready(_arrived(file, folder))
    folder.mkdir(parents=True, exist_ok=True)
    if source.parent.samefile(folder):
        return Ready(source)
    _same_as_enqueued(file)
    path, there = _free_name(file, source, folder)
    if there:  # an earlier try came so far
        return Ready(path, remove=source)
    if source.is_symlink():
        return Ready(path, _link(source, folder, number), remove=source)
    if copy or source.lstat().st_dev != folder.stat().st_dev:
        return Ready(path, _copy(file, source, folder, number), remove=source)
    return Ready(path, source)


def _prepare_delete(file: FileRef, source: Path) -> Ready:
    if not os.path.lexists(source):
        return Ready(None)
    _same_as_enqueued(file)
    return Ready(None, remove=source)


def _same_as_enqueued(file: FileRef) -> None:
    problem = check(file)
    if problem is None:
        return
    if problem.permanent:
        raise Left(problem.message)
    raise OSError(errno.EIO, problem.message)


def _arrived(file: FileRef, folder: Path) -> Path:
    """Where an earlier try has put it."""
    for path in _names(file, folder):
        if not os.path.lexists(path):
            break
        if _is_it(path, file):
            return path
    raise Left(f"{_shown(file.path)} is gone since it was enqueued")


def _free_name(file: FileRef, source: Path, folder: Path) -> tuple[Path, bool]:
    """A name that nobody has; or (with True) that of a file with the same content."""
    for path in _names(file, folder):
        if not os.path.lexists(path):
            return path, False
        if _is_it(path, file):
            return path, True
    raise OSError(errno.EEXIST, f"{folder} has too many files called like {source.name}")


def _names(file: FileRef, folder: Path) -> Iterator[Path]:
    """menu.pdf, menu.1.pdf, menu.2.pdf …"""
    name = Path(file.path).name
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name of any bytes
    yield folder / name
    for number in range(1, _MOST_NAMES):
        yield folder / f"{stem}.{number}{suffix}"


def _is_it(path: Path, file: FileRef) -> bool:
    """Whether a regular file (no link, which may lead to the very file that moves) has the content."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _partial(folder: Path, number: int) -> Path:
    return folder / f".batchctl-{number}.part"


def _link(source: Path, folder: Path, number: int) -> Path:
    """A link that leads to where the other leads."""
    partial = _partial(folder, number)
    partial.unlink(missing_ok=True)
    partial.symlink_to(source.resolve())
    return partial


def _copy(file: FileRef, source: Path, folder: Path, number: int) -> Path:
    """On disk when this returns. The name depends on the item alone: what an interrupted try left is overwritten."""
    partial = _partial(folder, number)
    partial.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, partial.open("xb") as writing:
        while piece := reading.read(_COPY):
            digest.update(piece)
            writing.write(piece)
        writing.flush()
        shutil.copystat(source, partial)
        os.fsync(writing.fileno())
    if digest.hexdigest() != file.sha256:
        partial.unlink()
        raise Left(f"{_shown(file.path)} has other content than when it was enqueued")
    return partial


def finish(ready: Ready) -> set[Path]:
    """Rename and remove. Returns the folders that have changed, for `settle`. Raises OSError; FileExistsError where the
    name was taken meanwhile, ElsewhereError where only a copy can go there."""
    changed: set[Path] = set()
    if ready.source is not None and ready.path is not None:
        _rename(ready.source, ready.path)
        changed |= {ready.source.parent, ready.path.parent}
    if ready.remove is not None:
        ready.remove.unlink(missing_ok=True)
        changed.add(ready.remove.parent)
    return changed


def settle(folders: Iterable[Path]) -> None:
    """What has changed in these folders is on disk when this returns."""
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _rename(source: Path, target: Path) -> None:
    """To a name that nobody has."""
    code = _rename_no_replace(os.fsencode(source), os.fsencode(target))
    if code in (errno.EINVAL, errno.ENOSYS):  # a file system that can't promise it: as nearly as it gets
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        source.rename(target)
    elif code == errno.EXDEV:
        raise ElsewhereError(code, os.strerror(code), str(target))
    elif code:
        raise OSError(code, os.strerror(code), str(target))


def _rename_no_replace(source: bytes, target: bytes) -> int:
    """0, or the system's error number."""
    call = _renameat2()
    if call is None:
        return errno.ENOSYS
    return 0 if call(_AT_FDCWD, source, _AT_FDCWD, target, _NOREPLACE) == 0 else ctypes.get_errno()


@cache
def _renameat2() -> Callable[..., int] | None:
    """The C library's; Python has none."""
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
