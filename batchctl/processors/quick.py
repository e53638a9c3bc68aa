"""System calls that end at once, made without handing over the interpreter's lock.

Python gives its lock away around each of its own calls. Where other threads wait for it, getting it back takes longer
than such a call; what ctypes.PyDLL calls keeps it. Where one fails, Python's own function is asked, which also knows
how to raise. Nothing that may wait for a disk or another process belongs here.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from typing import Any

_START = ctypes.c_char * 4096


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """One of the C library; where it has none of that name, one that always fails."""
    try:
        found = getattr(ctypes.PyDLL(None), name)
    except (AttributeError, OSError):
        return lambda *_: -1
    found.restype, found.argtypes = result, arguments
    return found


_memfd_create = _function("memfd_create", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_fcntl = _function("fcntl", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
_pwrite = _function("pwrite", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)
_pread = _function("pread", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)
_close = _function("close", ctypes.c_int, ctypes.c_int)
_kill = _function("kill", ctypes.c_int, ctypes.c_int, ctypes.c_int)
_waitpid = _function("waitpid", ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


def memory_file() -> int:
    """A new file in memory, closed on exec. Raises OSError."""
    fd: int = _memfd_create(b"batchctl", os.MFD_CLOEXEC)
    return fd if fd >= 0 else os.memfd_create("batchctl", os.MFD_CLOEXEC)


def append_only(fd: int) -> None:
    """What is written to the file goes to its end. Raises OSError."""
    if _fcntl(fd, fcntl.F_SETFL, os.O_APPEND):
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)


def write_start(fd: int, content: bytes) -> None:
    """Write to the beginning of a memory file. Raises OSError."""
    if _pwrite(fd, content, len(content), 0) != len(content):
        os.pwrite(fd, content, 0)


def read_small(fd: int) -> bytes | None:
    """All that a memory file holds; None where that is 4 KB or more."""
    start = _START()
    size = _pread(fd, start, len(start), 0)
    return start.raw[:size] if 0 <= size < len(start) else None


def close(fd: int) -> None:
    """Raises OSError where it is not open."""
    if _close(fd):
        os.close(fd)


def kill_group(group: int, number: int) -> bool:
    """Send the signal; False where it reached nobody."""
    return bool(_kill(-group, number) == 0)


def reap(pid: int) -> int:
    """The wait status of a child that has ended."""
    status = ctypes.c_int()
    if _waitpid(pid, ctypes.byref(status), os.WNOHANG) == pid:
        return status.value
    return os.waitpid(pid, 0)[1]
