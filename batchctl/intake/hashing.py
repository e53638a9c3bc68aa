# ruff: noqa: PTH109, PTH118 - pathlib would drop what the user wrote ("a/../b")
"""The facts of a file: size, SHA-256, type. Several are read at once; answers come in input order."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batchctl.intake.filetypes import FileType, file_type
from batchctl.intake.names import is_utf8, readable
from batchctl.intake.selection import Candidate

_THREADS = max(2, min(8, os.cpu_count() or 2))
_AHEAD = 8 * _THREADS


class Unreadable(ValueError):
    """The file can't be taken as it is; the message goes on after "path: "."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file. `path` is absolute, decoded as `os.fsdecode` does."""

    path: str
    size: int
    sha256: str
    type: FileType

    @property
    def folder(self) -> str:
        """Where it lies: the deepest folder whose path is UTF-8."""
        return str(next(folder for folder in Path(self.path).parents if is_utf8(str(folder))))

    def as_json(self, *, stored: bool = False) -> str:
        """The JSON text that the store keeps; `raw` holds the bytes of a path that is not UTF-8, `stored` tells that
        the content is kept, too."""
        facts: dict[str, str | int] = {
            "path": readable(self.path),
            "name": readable(Path(self.path).name),
            "size": self.size,
            "sha256": self.sha256,
            "media_type": self.type.media_type,
        }
        if stored:
            facts["stored"] = True
        if not is_utf8(self.path):
            facts["raw"] = base64.b64encode(os.fsencode(self.path)).decode()
        return msgspec.json.encode(facts).decode()


def facts_of(candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, Facts | Unreadable]]:
    """Each candidate with its facts, in order. A few files are read ahead in threads (hashing frees the GIL)."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="hash") as pool:
        ahead: deque[tuple[Candidate, Future[Facts | Unreadable]]] = deque()
        try:
            for candidate in candidates:
                ahead.append((candidate, pool.submit(_examined, candidate.path)))
                if len(ahead) >= _AHEAD:
                    yield _next(ahead)
            while ahead:
                yield _next(ahead)
        finally:
            for _, future in ahead:
                future.cancel()


def _next(ahead: deque[tuple[Candidate, Future[Facts | Unreadable]]]) -> tuple[Candidate, Facts | Unreadable]:
    candidate, future = ahead.popleft()
    return candidate, future.result()


def _examined(path: str) -> Facts | Unreadable:
    try:
        return examine(path)
    except Unreadable as error:
        return error


def examine(path: str) -> Facts:
    """Reads the file once. Raises Unreadable: no regular file, no permission, or it changes while it is read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe put in its place must not block
        with os.fdopen(fd, "rb", buffering=0) as stream:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise Unreadable("is no regular file")
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
            kind = file_type(stream, Path(path).name)
            after = os.fstat(fd)
            now = Path(path).stat()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror or error}") from None
    same = _version(before) == _version(after) == _version(now)
    if not same or size != before.st_size:
        raise Unreadable("changed while it was read (still being written?); --min-age 1m leaves such files out")
    return Facts(_absolute(path), size, digest, kind)


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _absolute(path: str) -> str:
    """From the root, without `.`; `..` stays where a link may stand before it."""
    full = os.path.join(os.getcwd(), path)
    return full if ".." in full.split("/") else os.path.normpath(full)
