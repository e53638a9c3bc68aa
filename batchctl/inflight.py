"""Which items a worker has in hand right now, in a small mapped file that outlives a `kill -9`.

A worker (or a child interpreter of it) marks an item before it touches it and clears the mark when it ended. Pages
of a shared mapping belong to the kernel, so after the process died recovery reads what was started, without a
database write for each start. After a power loss the file tells nothing; then nothing counts as started.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

_RECORD = struct.Struct("<QQQQ")
_ID = struct.Struct("<Q")
SLOTS = 4096


@dataclass(frozen=True, slots=True)
class Mark:
    """One started item: its number, the claim it was started under, when (ms UTC), and the slot's free word."""

    item_id: int
    claim_no: int
    started_ms: int
    word: int = 0


class InFlight:
    """A file of fixed records. Any process that may write it can map it; a slot has one writer at a time.

    Raises OSError where the file can't be made or opened.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                # Not sparse: on a disk that fills up later, writing to a hole of a mapping would kill us (SIGBUS).
                os.posix_fallocate(fd, 0, SLOTS * _RECORD.size)
            self._map = mmap.mmap(fd, SLOTS * _RECORD.size)
        finally:
            os.close(fd)
        self.path = path
        self._free = list(range(SLOTS - 1, -1, -1))
        self._lock = threading.Lock()

    def take(self) -> int:
        """A slot for one runner. Raises IndexError where more than SLOTS are in use."""
        with self._lock:
            return self._free.pop()

    def give(self, slot: int) -> None:
        """Clear the slot and free it for another runner of this process."""
        self.clear(slot)
        with self._lock:
            self._free.append(slot)

    def mark(self, slot: int, item_id: int, claim_no: int, started_ms: int) -> None:
        at = slot * _RECORD.size
        _RECORD.pack_into(self._map, at, 0, claim_no, started_ms, 0)
        _ID.pack_into(self._map, at, item_id)  # last: a record without an id is no record

    def clear(self, slot: int) -> None:
        _ID.pack_into(self._map, slot * _RECORD.size, 0)

    def flag(self, slot: int, word: int) -> None:
        """Set the slot's free word, for the process that marks it; the next mark clears it."""
        _ID.pack_into(self._map, slot * _RECORD.size + 3 * _ID.size, word)

    def get(self, slot: int) -> Mark | None:
        item_id, claim_no, started, word = _RECORD.unpack_from(self._map, slot * _RECORD.size)
        return Mark(item_id, claim_no, started, word) if item_id else None

    def started(self) -> list[Mark]:
        """Every item that is marked now."""
        return [mark for slot in range(SLOTS) if (mark := self.get(slot))]

    def close(self) -> None:
        self._map.close()
