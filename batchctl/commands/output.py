"""Where a command's document goes: standard output, or a file that is whole or not there."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from batchctl import console
from batchctl.errors import UsageError


@contextlib.contextmanager
def target(output: str | None, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only when it is complete. `mode` is that of a new file;
    None leaves it to the umask. Raises UsageError where it cannot be written."""
    if output in (None, "-"):
        if console.is_terminal(sys.stdout):
            yield _Screen()
            return
        console.settings.wrote = True
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(output or ""))
    try:
        if path.exists() and not path.is_file():  # a pipe or a device takes it as it comes
            with path.open("wb") as out:
                yield out
            return
        with _replacing(path, mode) as out:
            yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error


def is_replaced(output: str | None) -> bool:
    """Whether `target` can be tried again: nobody has seen a part of it."""
    return output not in (None, "-") and (not os.path.lexists(output or "") or Path(output or "").is_file())


class _Screen(io.BytesIO):
    """A document on its way to a terminal, which is spared the control characters of strangers."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        console.raw(console.safe(self._decoder.decode(bytes(data)), keep="\n\t"))
        return len(data)


@contextlib.contextmanager
def _replacing(path: Path, mode: int | None) -> Iterator[BinaryIO]:
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as out:
            os.fchmod(fd, path.stat().st_mode & 0o7777 if path.exists() else mode or 0o666 & ~_umask())
            yield out
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
