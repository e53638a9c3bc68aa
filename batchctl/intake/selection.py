"""Which files are meant: paths, folders, lists, patterns; hidden, partial and too young ones left out."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchctl.intake.names import readable
from batchctl.intake.problems import Problems

_PARTIAL_ENDS = (".part", ".tmp")
_LOCK_START = "~$"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that was selected. `path` opens it; `key` is what the user calls it, both as `os.fsdecode` gives them."""

    path: str
    key: str


@dataclass(slots=True)
class Selection:
    """The rules of one call. `left_out` counts, by reason, what they left out.

    patterns   globs without regard to case, for names; those with a slash for the path below the folder
    min_age    seconds since the last change
    """

    recursive: bool = False
    patterns: Sequence[str] = ()
    min_age: float = 0.0
    left_out: Counter[str] = field(default_factory=Counter)
    _globs: list[tuple[str, re.Pattern[str]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._globs = [(glob, re.compile(fnmatch.translate(glob), re.IGNORECASE)) for glob in self.patterns]

    def files(self, paths: Iterable[tuple[str, str]], problems: Problems) -> Iterator[Candidate]:
        """The files behind (where it was named, path) in order, folders sorted by name. What can't be taken goes
        to `problems`."""
        for place, path in paths:
            shown = readable(path)
            where = place if shown in ("", place) else f"{place}: {shown}"
            try:
                status = Path(path).stat()
            except (OSError, ValueError) as error:
                problems.add(where, _missing(path, error))
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._folder(where, path, problems)
            elif not stat.S_ISREG(status.st_mode):
                problems.add(where, "is no regular file")
            elif self._wanted(path, path, status.st_mtime):
                yield Candidate(path, path)

    def _folder(self, where: str, path: str, problems: Problems) -> Iterator[Candidate]:
        if not self.recursive and not self.patterns:
            problems.add(where, "is a folder; add -r to take the files in it")
            return
        for found in _walk(path, problems, self.left_out):
            key = os.path.relpath(found.path, path)
            if self._wanted(found.path, key, found.stat().st_mtime):
                yield Candidate(found.path, key)

    def _wanted(self, path: str, key: str, changed: float) -> bool:
        name = Path(path).name
        globs = [glob for glob, pattern in self._globs if pattern.match(key if "/" in glob else name)]
        if self._globs and not globs:
            self.left_out["not matched by --pattern"] += 1
        elif (reason := _unfinished(name)) and not any(_unfinished(Path(glob).name) for glob in globs):
            self.left_out[reason] += 1
        elif self.min_age and time.time() - changed < self.min_age:
            self.left_out["younger than --min-age"] += 1
        else:
            return True
        return False


def named_in(data: bytes, list_name: str, *, null: bool, problems: Problems) -> list[tuple[str, str]]:
    """The paths of a --files-from list as (where, path): one a line, or ended by NUL bytes with `null`."""
    if b"\0" in data and not null:
        problems.add(list_name, "holds NUL bytes; add -0 (--null) to read names that end with one")
        return []
    parts = data.split(b"\0" if null else b"\n")
    return [(f"{list_name}:{number}", os.fsdecode(part)) for number, part in enumerate(parts, 1) if part]


def given(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Paths of the command line as (where, path)."""
    return [(readable(path) or "''", path) for path in paths]


def _unfinished(name: str) -> str | None:
    """Why a file of that name is usually not meant; a --pattern that spells it so itself means it."""
    if name.startswith("."):
        return "hidden"
    if name.startswith(_LOCK_START) or name.lower().endswith(_PARTIAL_ENDS):
        return "partial"
    return None


def _walk(top: str, problems: Problems, left_out: Counter[str]) -> Iterator[os.DirEntry[str]]:
    """Every file below the folder, sorted. Links to folders are followed, but each folder is entered once."""
    entered: set[tuple[int, int]] = set()
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            problems.add(readable(folder), f"cannot be read: {error.strerror or error}")
            continue
        inner = [entry for entry in entries if _is_folder(entry)]
        # Real folders before links, so that a file is known by its own place.
        inner.sort(key=lambda entry: entry.is_symlink())
        folders += [entry.path for entry in reversed(inner) if not entry.name.startswith(".")]
        for entry in entries:
            if entry not in inner and _is_file(entry, problems, left_out):
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str], problems: Problems, left_out: Counter[str]) -> bool:
    try:
        status = entry.stat()
    except OSError as error:
        if _unfinished(entry.name) is None:
            problems.add(readable(entry.path), _missing(entry.path, error))
        return False
    if not stat.S_ISREG(status.st_mode):
        left_out["no regular file"] += 1
        return False
    return True


def _missing(path: str, error: OSError | ValueError) -> str:
    if not path:
        return "an empty path"
    if Path(path).is_symlink():
        return "is a link to nothing"
    reason = getattr(error, "strerror", None) or str(error)
    globbed = any(mark in path for mark in "*?[")
    return f"cannot be read: {reason}" + ("; for a glob use a folder and --pattern" if globbed else "")
