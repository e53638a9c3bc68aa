"""Starts the program as a fork of a process that has imported it, which takes a tenth of a fresh interpreter's time.

What runs is a process of its own, as a shell would start it: with its own folder, environment, pipes and exit code.
Started as a program, this is the process that forks.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from threading import Thread
from typing import Any

_LARGEST = 100_000  # bytes of a request; what is longer starts afresh
_PRELOADED = ("psycopg", "jinja2.sandbox", "rich.console", "rich.progress", "rich.table", "pycurl", "sqlite3", "uuid")
# What an interpreter reads only when it starts.
_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "BATCHCTL_TEST_FRESH")
BASE = {"PYTHONWARNINGS": "error", "LANG": "C.UTF-8"}


class Warm:
    """The process that forks, begun with the first call. One call at a time from each thread."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fits(self, env: Mapping[str, str]) -> bool:
        """Whether a program with that environment would be the same as a fork."""
        special = {name: value for name, value in env.items() if name.startswith(_AT_START)}
        return special == BASE and "BATCHCTL_TEST_FRESH" not in os.environ

    def run(
        self, args: Sequence[str | bytes | Path], cwd: Path, env: Mapping[str, str], stdin: bytes | None, timeout: float
    ) -> subprocess.CompletedProcess[bytes] | None:
        """As `subprocess.run` with captured output. None where the call is too long. Raises TimeoutExpired."""
        request = json.dumps([[os.fsdecode(arg) for arg in args], str(cwd), dict(env)]).encode()
        if len(request) > _LARGEST:
            return None
        ours, theirs = socket.socketpair()
        into = os.open(os.devnull, os.O_RDONLY) if stdin is None else None
        feed: int | None = None
        if into is None:
            into, feed = os.pipe()
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        passed = [into, out_end, err_end, theirs.fileno()]
        try:
            socket.send_fds(self._server(), [request], passed)
        finally:
            theirs.close()
            for fd in (into, out_end, err_end):
                os.close(fd)
        return _attend(ours, out, err, feed, stdin or b"", timeout, list(args))

    def _server(self) -> socket.socket:
        if self._control is None or self._process is None or self._process.poll() is not None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TZ": "UTC"} | BASE
            with theirs:
                command = [sys.executable, __file__, str(theirs.fileno())]
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, cwd="/")
            atexit.register(self._close)
        return self._control

    def _close(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()  # so that it ends
            self._process.wait()


def _attend(
    status: socket.socket, out: int, err: int, feed: int | None, stdin: bytes, timeout: float, args: list[Any]
) -> subprocess.CompletedProcess[bytes]:
    found: dict[int, bytes] = {}

    def read(fd: int) -> None:
        with open(fd, "rb") as pipe:
            found[fd] = pipe.read()

    def write(fd: int) -> None:
        with suppress(BrokenPipeError), open(fd, "wb") as pipe:
            pipe.write(stdin)

    threads = [Thread(target=read, args=(fd,)) for fd in (out, err)]
    threads += [Thread(target=write, args=(feed,))] if feed is not None else []
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    pid = int.from_bytes(status.recv(8), "little")
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = any(thread.is_alive() for thread in threads)
    if late:
        os.kill(pid, signal.SIGKILL)
    code = int.from_bytes(status.recv(8), "little", signed=True)
    status.close()
    if late:
        raise subprocess.TimeoutExpired(args, timeout)
    return subprocess.CompletedProcess(args, code, found[out], found[err])


# -- the process that forks


def _serve(control: socket.socket) -> None:
    running = selectors.DefaultSelector()
    running.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in running.select():
            if key.fileobj is control:
                request, fds, *_ = socket.recv_fds(control, _LARGEST + 1, 4)
                if not request:
                    return
                pid = os.fork()
                if pid == 0:
                    control.close()
                    running.close()
                    _become(json.loads(request), fds)
                for fd in fds[:3]:
                    os.close(fd)
                told = socket.socket(fileno=fds[3])
                with suppress(OSError):
                    told.send(pid.to_bytes(8, "little"))
                running.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
            else:
                running.unregister(key.fileobj)
                os.close(key.fd)
                pid, told = key.data
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with told, suppress(OSError):
                    told.send(code.to_bytes(8, "little", signed=True))


def _become(request: tuple[list[str], str, dict[str, str]], fds: list[int]) -> None:
    """`python -m batchctl ARGS` there; its end is that of this process."""
    args, folder, env = request
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    _open_streams()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.path[0] = folder
    sys.argv[:] = ["batchctl", *args]
    gc.unfreeze()
    runpy.run_module("batchctl", run_name="__main__", alter_sys=True)
    sys.exit(0)


def _open_streams() -> None:
    """As the interpreter does when it starts."""
    into, out, err = (BufferedReader(FileIO(0, "rb", False)), *(BufferedWriter(FileIO(n, "wb", False)) for n in (1, 2)))
    sys.stdin = TextIOWrapper(into, "utf-8", sys.stdin.errors, "\n")
    sys.stdout = TextIOWrapper(out, "utf-8", sys.stdout.errors, "\n")
    sys.stderr = TextIOWrapper(err, "utf-8", sys.stderr.errors, "\n", line_buffering=True)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _preload() -> None:
    import importlib
    import pkgutil

    import batchctl.cli
    import batchctl.commands

    for module in pkgutil.iter_modules(batchctl.commands.__path__, "batchctl.commands."):
        importlib.import_module(module.name)
    for name in _PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)


if __name__ == "__main__":
    _preload()
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
