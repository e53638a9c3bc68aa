"""System calls that keep the interpreter's lock: they do what Python's own do, and fail like them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess

import pytest

from batchctl.processors import quick


@pytest.fixture(params=["the C library's", "it has none"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "it has none":
        missing = quick._function("no_such_function", None)
        for name in ("_memfd_create", "_fcntl", "_pwrite", "_pread", "_close", "_waitpid"):
            monkeypatch.setattr(quick, name, missing)


@pytest.mark.usefixtures("_both_ways")
def test_a_memory_file() -> None:
    fd = quick.memory_file()
    assert not os.get_inheritable(fd)
    quick.write_start(fd, b"a\0b")
    quick.append_only(fd)
    os.write(fd, b"c")
    assert os.pread(fd, 10, 0) == b"a\0bc"
    quick.close(fd)
    for call in (quick.close, quick.append_only):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            call(fd)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        quick.write_start(fd, b"x")


@pytest.mark.parametrize(("size", "known"), [(0, True), (1, True), (4_095, True), (4_096, False), (9_000, False)])
def test_small_files_are_read_whole(size: int, *, known: bool) -> None:
    fd = quick.memory_file()
    quick.write_start(fd, b"\0" * size)
    assert quick.read_small(fd) == (b"\0" * size if known else None)
    quick.close(fd)


@pytest.mark.usefixtures("_both_ways")
def test_an_ended_child_is_reaped_once() -> None:
    process = subprocess.Popen(["sh", "-c", "exit 3"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.waitstatus_to_exitcode(quick.reap(process.pid)) == 3
    with pytest.raises(ChildProcessError):
        quick.reap(process.pid)
    process.returncode = 3


def test_a_signal_reaches_a_group_or_nobody() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert quick.kill_group(process.pid, signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert not quick.kill_group(process.pid, signal.SIGTERM)
