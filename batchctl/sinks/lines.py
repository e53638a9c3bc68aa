"""A file that rows are appended to: whole lines only, and never twice.

The store knows how long the file is. What lies beyond that was written by somebody whose commit never came; it is cut,
and kept beside the file (`NAME.cut`) in case it was somebody else's.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchctl.engines.tables import Busy, Misfit, Unusable

_PAUSE = 0.01  # seconds between looks at a lock
_COPY = 1 << 20  # bytes
_FIRST = 1 << 20  # bytes: longer than the first line of a CSV file should be


class Lines:
    """One file. `lock`, then `meet` with the length that the store knows, then `append`, then `flush`; then `unlock`.

    Raises Unusable, Busy where another one has it locked.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self._patience = patience
        self._fd = -1
        self._size = 0
        self._columns: list[str] | None = None

    def lock(self) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            self._open()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(f"{self.path}: another program has it locked") from None
                time.sleep(_PAUSE)
                continue
            if self._is_ours():
                return
            self.unlock()  # another file has taken its place while we waited

    def _open(self) -> None:
        if self._fd >= 0 and self._is_ours():
            return
        self.unlock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o666)
            if not os.path.isfile(self.path):  # noqa: PTH113 - a path of any bytes
                raise Unusable(f"{self.path}: is no regular file")
        except OSError as error:
            raise Unusable(f"{self.path}: {error.strerror}") from error

    def _is_ours(self) -> bool:
        try:
            there, here = self.path.stat(), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def unlock(self) -> None:
        """Also closes it: another program may put a new file in its place."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def length(self) -> int:
        """In bytes, as it is now."""
        return os.fstat(self._fd).st_size

    def meet(self, known: int) -> None:
        """Begin behind what the store knows. A file that is shorter has been replaced or emptied: begin at its end."""
        try:
            length = self.length
            if length > known:
                self._cut(known, length)
            self._size = min(known, length)
            self._columns = self._header()
        except OSError as error:
            raise Unusable(f"{self.path}: {error.strerror}") from error

    def _cut(self, known: int, length: int) -> None:
        aside = os.open(f"{self.path}.cut", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            for start in range(known, length, _COPY):
                os.write(aside, os.pread(self._fd, min(_COPY, length - start), start))
        finally:
            os.close(aside)
        os.ftruncate(self._fd, known)

    def _header(self) -> list[str] | None:
        if self.path.suffix != ".csv" or not self._size:
            return None
        first = os.pread(self._fd, min(_FIRST, self._size), 0).decode("utf-8-sig", "replace")
        return next(csv.reader(io.StringIO(first, newline="")), None)

    def begin(self, rows: Sequence[Any]) -> None:
        """What the first rows of a new CSV file decide: its columns."""
        if self.path.suffix == ".csv" and self._columns is None:
            columns = list(dict.fromkeys(name for row in rows for name in row))
            if columns:
                self._write(_csv_line(columns))
                self._columns = columns

    def text(self, rows: Sequence[Any]) -> bytes:
        """The lines that these rows make. Raises Misfit."""
        try:
            if self.path.suffix == ".csv":
                return b"".join(self._csv(row) for row in rows)
            return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        except UnicodeEncodeError:
            raise Misfit("a text holds half a character (a lone surrogate), which is no UTF-8") from None

    def _csv(self, row: Mapping[str, Any]) -> bytes:
        columns = self._columns or []
        unknown = [name for name in row if name not in columns]
        if unknown:
            raise Misfit(f"{self.path.name} has no column {', '.join(map(repr, unknown))}")
        return _csv_line([_csv_value(row.get(name)) for name in columns])

    def append(self, text: bytes) -> None:
        """At the end, on its own line whatever stands before."""
        self._write(text)

    def _write(self, text: bytes) -> None:
        try:
            if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
                text = b"\n" + text
            view = memoryview(text)
            while view:
                wrote = os.pwrite(self._fd, view, self._size)
                self._size += wrote
                view = view[wrote:]
        except OSError as error:
            raise Unusable(f"{self.path}: {error.strerror}") from error

    def flush(self) -> int:
        """On disk when this returns. Returns the length to remember."""
        try:
            os.fsync(self._fd)
            if self._size == 0:
                return 0
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Unusable(f"{self.path}: {error.strerror}") from error
        return self._size


def _csv_line(values: Sequence[Any]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def _csv_value(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value
