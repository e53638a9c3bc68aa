"""Notices files that changed since they were enqueued (promise 11)."""

from __future__ import annotations

import hashlib
import os
import stat

from batchctl.model import FileRef, ItemError


def check(file: FileRef) -> ItemError | None:
    """None where the file is still what was enqueued, else what is wrong with it.

    Reads the whole file: neither size nor time proves that the content is the same.
    """
    try:
        # A FIFO that took the file's place would block a plain open for ever.
        fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return ItemError("FileMissing", f"{_shown(file)} is gone since it was enqueued", permanent=True)
    except OSError as error:
        return ItemError("FileUnreadable", f"{_shown(file)} can't be read: {error.strerror}")
    try:
        return _difference(file, fd)
    except OSError as error:
        return ItemError("FileUnreadable", f"{_shown(file)} can't be read: {error.strerror}")
    finally:
        os.close(fd)


def _difference(file: FileRef, fd: int) -> ItemError | None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        return _changed(file, "is no regular file any more")
    if found.st_size != file.size:
        return _changed(file, f"had {file.size} bytes when it was enqueued, now it has {found.st_size}")
    with open(fd, "rb", buffering=0, closefd=False) as stream:
        same = hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    return None if same else _changed(file, "has other content than when it was enqueued")


def _changed(file: FileRef, how: str) -> ItemError:
    return ItemError("FileChanged", f"{_shown(file)} {how}", permanent=True)


def _shown(file: FileRef) -> str:
    return os.fsencode(file.path).decode("utf-8", "backslashreplace")
