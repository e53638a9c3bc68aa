"""Starts a program in a session of its own, by the C library's posix_spawn.

`subprocess.Popen` and `os.posix_spawn` keep the interpreter locked until the new process has called exec, about
300 µs in which no other slot starts anything and the worker's own thread stands still; a call through ctypes does not.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80  # <spawn.h>, the same in glibc and musl
_OPAQUE = ctypes.c_char * 1024  # more than any of the library's structures has
_KNOWN = 1024  # combinations of file numbers
_POINTER = ctypes.sizeof(ctypes.c_char_p)
_RESTORED = {signal.SIGPIPE, signal.SIGXFSZ}  # Python ignores them, programs rely on them
_FIXED = {signal.SIGKILL, signal.SIGSTOP}


class Environment:
    """NAME=value for a program: `base`, the same for every item and laid out once, and what an item adds to it."""

    def __init__(self, base: Sequence[bytes]) -> None:
        self.base = _checked(base)
        self._vector = _vector(self.base)

    def with_more(self, more: Sequence[bytes]) -> Any:
        """A NULL-terminated array for C. It borrows the base: this object must outlive it. Raises ValueError."""
        vector = (ctypes.c_char_p * (len(self.base) + len(more) + 1))()
        ctypes.memmove(vector, self._vector, len(self.base) * _POINTER)
        for at, entry in enumerate(_checked(more), len(self.base)):
            vector[at] = entry
        return vector


def spawn(
    program: bytes,
    argv: Sequence[bytes],
    environment: Environment,
    more: Sequence[bytes],
    cwd: bytes,
    fds: tuple[int, int, int],
) -> int:
    """Start `program` and return its pid; it is the leader of its own session and group.

    more    what the item adds to the environment
    fds     what become standard input, output and error; none of them below 3
    Raises OSError where it can't be executed or `cwd` can't be entered, ValueError where an argument holds a NUL.
    """
    libc = _libc()
    if libc is None:
        return _by_popen(program, _checked(argv), [*environment.base, *_checked(more)], cwd, fds)
    return libc.spawn(program, _vector(_checked(argv)), environment.with_more(more), cwd, fds)


def find(name: str, path: str | None) -> str | None:
    """The file of a program: what has a slash is one, all else is looked for in PATH. None where it is not there."""
    return name if "/" in name else shutil.which(name, path=path)


class _Libc:
    """The functions of the C library that we need. Raises AttributeError where it lacks one."""

    def __init__(self) -> None:
        self._spawn = ctypes.CDLL(None).posix_spawn  # unlocks the interpreter
        library = ctypes.PyDLL(None)  # does not: for what takes no time, handing the lock over and back is dear
        self._init = library.posix_spawn_file_actions_init
        self._dup2 = library.posix_spawn_file_actions_adddup2
        self._chdir = library.posix_spawn_file_actions_addchdir_np
        self._destroy = library.posix_spawn_file_actions_destroy
        self._closefrom = getattr(library, "posix_spawn_file_actions_addclosefrom_np", None)  # glibc 2.34
        self._attributes = self._make_attributes(library)
        self._actions = lru_cache(_KNOWN)(self._make_actions)  # the same few numbers come again and again

    @staticmethod
    def _make_attributes(library: Any) -> Any:
        attributes, signals = _OPAQUE(), _OPAQUE()
        library.posix_spawnattr_init(attributes)
        library.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID))
        library.sigemptyset(signals)
        library.posix_spawnattr_setsigmask(attributes, signals)
        for number in _to_defaults():
            library.sigaddset(signals, number)
        library.posix_spawnattr_setsigdefault(attributes, signals)
        return attributes

    def spawn(self, program: bytes, argv: Any, environment: Any, cwd: bytes, fds: tuple[int, int, int]) -> int:
        pid, actions = ctypes.c_int(), self._actions(fds, cwd)
        error = self._spawn(ctypes.byref(pid), program, actions.content, self._attributes, argv, environment)
        if error:
            raise OSError(error, os.strerror(error))
        return pid.value

    def _make_actions(self, fds: tuple[int, int, int], cwd: bytes) -> _Actions:
        actions = _Actions(self._init, self._destroy)
        for target, fd in enumerate(fds):
            self._dup2(actions.content, fd, target)
        self._chdir(actions.content, cwd)
        if self._closefrom is not None:
            self._closefrom(actions.content, 3)
        return actions


class _Actions:
    """What a new process does before it becomes the program; memory of the C library, freed with this object."""

    def __init__(self, init: Any, destroy: Any) -> None:
        self.content = _OPAQUE()
        self._destroy = destroy
        init(self.content)

    def __del__(self) -> None:
        self._destroy(self.content)


def _to_defaults() -> set[int]:
    """Signals that a program gets at their default: all but those that are ignored, as by `nohup`. The kernel would do
    it anyway; but of each signal that is not named here the C library asks first how it stands."""
    ours = {number for number in signal.valid_signals() if signal.getsignal(number) is not signal.SIG_IGN}
    return (ours - _FIXED) | _RESTORED


def _vector(words: Sequence[bytes]) -> Any:
    return (ctypes.c_char_p * (len(words) + 1))(*words)


def _checked(words: Sequence[bytes]) -> Sequence[bytes]:
    if b"\0" in b" ".join(words):
        raise ValueError("a NUL character can't be passed to a program")
    return words


@cache
def _libc() -> _Libc | None:
    try:
        return _Libc()
    except (AttributeError, OSError):
        return None


def _by_popen(
    program: bytes, argv: Sequence[bytes], environment: Sequence[bytes], cwd: bytes, fds: tuple[int, int, int]
) -> int:
    """The same, slower, where the C library is an uncommon one."""
    process = subprocess.Popen(  # noqa: S603 - the user's own command; never through a shell
        list(argv),
        executable=program,
        env=dict(entry.split(b"=", 1) for entry in environment),
        cwd=cwd,
        stdin=fds[0],
        stdout=fds[1],
        stderr=fds[2],
        start_new_session=True,
    )
    process.returncode = 0  # its caller waits for the pid
    return process.pid
