"""What a program writes: kept in memory files, read while it runs and after it.

Files, not pipes: nothing has to be read for the program to go on, and what it left running in the background can't keep
us waiting for the end of a pipe.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from fcntl import F_DUPFD_CLOEXEC, fcntl

from batchctl.processors import quick

SHOWN = 2_000  # characters of its end that stand in an error message
_TAIL = 4 * SHOWN  # longer: a secret that the cut goes through must still be known as one, and so be masked
_LARGE = 100_000  # bytes that take longer to copy than the interpreter's lock should be kept
_KEEP = 1_000_000  # bytes of log that may pile up in memory before what was followed is dropped
_DIRECTIVE = re.compile(r"::(progress|retry-after)[ \t]+(\d+(?:\.\d+)?)%?[ \t]*\r?")


def memory_file(content: bytes = b"") -> int:
    """A file that has no name, with its position at the start; numbered 3 or higher."""
    fd = quick.memory_file()
    if fd < 3:  # our own standard input or output is closed
        low, fd = fd, fcntl(fd, F_DUPFD_CLOEXEC, 3)
        os.close(low)
    if len(content) > _LARGE:
        os.pwrite(fd, content, 0)
    elif content:
        quick.write_start(fd, content)
    return fd


def append_file() -> int:
    """A memory file to be written: appending, so that a program may open /dev/stderr anew, and we may cut it."""
    fd = memory_file()
    quick.append_only(fd)
    return fd


def contents(fd: int, limit: int, start: int = 0) -> bytes:
    """What the file holds from `start`; where that is over `limit` bytes its last lines (a cut may go through a secret,
    which would then not be known as one)."""
    size = os.fstat(fd).st_size
    if size <= start:
        return b""
    raw = os.pread(fd, limit, max(start, size - limit))
    return raw[raw.find(b"\n") + 1 :] if size - start > limit else raw


@dataclass(slots=True)
class Told:
    """What lines of standard error say: `::progress 45`, `::retry-after 120`, and the text without these."""

    text: str = ""
    percent: float | None = None
    retry_after: float | None = None


def understand(text: str) -> Told:
    """Take the directives out of the text; of each kind the last one holds."""
    if "::" not in text:
        return Told(text)
    told, kept = Told(), []
    for line in text.splitlines(keepends=True):
        found = _DIRECTIVE.fullmatch(line.rstrip("\n"))
        if found is None:
            kept.append(line)
        elif found[1] == "progress":
            told.percent = min(100.0, float(found[2]))
        else:
            told.retry_after = float(found[2])
    told.text = "".join(kept)
    return told


@dataclass(slots=True)
class Follower:
    """Reads a log file as it grows. `tail` is the end of what was read so far."""

    fd: int
    offset: int = 0
    tail: str = ""
    retry_after: float | None = field(default=None)

    def lines(self) -> Told:
        """The whole lines that came since the last call."""
        size = os.fstat(self.fd).st_size
        if size <= self.offset:
            self.offset = min(size, self.offset)
            return Told()
        raw = os.pread(self.fd, min(size - self.offset, _KEEP), self.offset)
        raw = raw[: raw.rfind(b"\n") + 1] or (raw if len(raw) == _KEEP else b"")
        self.offset += len(raw)
        if self.offset > _KEEP:
            os.ftruncate(self.fd, 0)
            self.offset = 0
        return self._remember(raw)

    def rest(self) -> Told:
        """What is left when the program has ended; of very much the end."""
        raw = None if self.offset else quick.read_small(self.fd)
        if raw is None:
            raw = contents(self.fd, _KEEP, self.offset)
        return self._remember(raw) if raw else Told()

    def _remember(self, raw: bytes) -> Told:
        told = understand(raw.decode("utf-8", "replace"))
        self.tail = (self.tail + told.text)[-_TAIL:]
        if told.retry_after is not None:
            self.retry_after = told.retry_after
        return told
