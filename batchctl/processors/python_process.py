"""One child interpreter, as its worker sees it."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import batchctl
from batchctl.config.structs import ProcessorConfig, PythonSpec
from batchctl.processors.base import Runtime
from batchctl.processors.output import append_file, contents
from batchctl.processors.processes import freeze, signal_group
from batchctl.processors.python_wire import HEADER, ROOM, Frame, decode

_READ = 256 * 1024
_KEPT = 20_000  # bytes of the last words of a child
_CAPTURE = 1_000_000  # bytes of printed text that a running item may pile up in memory
# Not -m: the child must find this package also where it runs from a checkout, and nothing in the current folder.
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from batchctl.processors.python_child import main; main()"


@dataclass(slots=True)
class Running:
    """The item that a child is working on.

    since       monotonic
    followed    bytes of its output that were passed on, `passed_on` the same in characters
    told        when it was told that it is cancelled
    """

    number: int
    claim_no: int
    started_ms: int
    since: float
    followed: int = 0
    passed_on: int = 0
    told: float | None = None


class ChildProcess:
    """Start it from a thread that lives as long as the child may: the kernel kills it when that thread ends."""

    def __init__(self, config: ProcessorConfig, spec: PythonSpec, runtime: Runtime, items: socket.socket) -> None:
        self.ready = False
        self.silent = False  # it has closed its line
        self.silent_since = 0.0  # monotonic
        self.retiring = False
        self.ending: str | None = None  # why we killed it
        self.running: Running | None = None
        self.born = time.monotonic()
        self._inflight = runtime.inflight
        self._received = bytearray()
        self._output = append_file()
        self._memory = _Memory()
        self.answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.answers.setblocking(False)
        self.slot = runtime.inflight.take()
        try:
            with theirs:
                self._process = self._start(config, spec, runtime, [items.fileno(), theirs.fileno(), self._memory.fd])
        except OSError:
            self._release()
            raise
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def _start(
        self, config: ProcessorConfig, spec: PythonSpec, runtime: Runtime, fds: list[int]
    ) -> subprocess.Popen[bytes]:
        root = Path(batchctl.__file__).parent.parent
        words = (root, spec.module, spec.function, config.folder, os.getpid(), self.slot, runtime.inflight.path,
                 spec.max_output, *fds)  # fmt: skip
        return subprocess.Popen(  # noqa: S603 - our own interpreter, and no shell
            [sys.executable, "-P", "-c", _BOOT, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=dict(runtime.environment),
            pass_fds=fds,
            start_new_session=True,
        )

    def receive(self) -> list[Frame]:
        """What it has answered. Raises msgspec.MsgspecError where that is no answer."""
        known = len(self._received)
        while True:
            try:
                part = self.answers.recv(_READ)
            except (BlockingIOError, ConnectionResetError):
                break
            self._received += part
            self.silent = not part
            if len(part) < _READ:
                break
        end = self._received.rfind(b"\n", known) + 1
        if not end:
            return []
        frames = decode(bytes(self._received[:end]))
        del self._received[:end]
        return frames

    def holds(self) -> int:
        """The number of the item that it has taken and not answered; 0 for none."""
        return self._memory.number()

    def look(self) -> Running | None:
        """What it is working on now, from its mark."""
        mark = self._inflight.get(self.slot)
        if mark is None:
            self.running = None
        elif self.running is None or (self.running.number, self.running.claim_no) != (mark.item_id, mark.claim_no):
            age = max(0.0, time.time() - mark.started_ms / 1000)
            self.running = Running(mark.item_id, mark.claim_no, mark.started_ms, time.monotonic() - age)
        return self.running

    def started_ms(self, number: int) -> int | None:
        """When it started that item; None where it did not."""
        mark = self._inflight.get(self.slot)
        return mark.started_ms if mark is not None and mark.item_id == number else None

    def follow(self, running: Running) -> str:
        """The whole lines that the item has printed since the last call."""
        size = os.fstat(self._output).st_size
        if size <= running.followed:
            return ""
        raw = os.pread(self._output, min(size - running.followed, _CAPTURE), running.followed)
        raw = raw[: raw.rfind(b"\n") + 1]
        text = raw.decode("utf-8", "replace")
        running.followed += len(raw)
        running.passed_on += len(text)
        if size > _CAPTURE:  # append mode: it goes on at the new end
            os.ftruncate(self._output, 0)
            running.followed = running.passed_on = 0
        return text

    def passed_on(self, number: int) -> int:
        """Characters of the item's output that `follow` has returned."""
        return self.running.passed_on if self.running and self.running.number == number else 0

    def printed(self, number: int) -> str:
        """What of that item's output `follow` has not returned; after its death this tells why."""
        followed = self.running.followed if self.running and self.running.number == number else 0
        return contents(self._output, _KEPT, followed).decode("utf-8", "replace")

    def tell(self, running: Running) -> None:
        """Let `context.cancelled` be true."""
        running.told = time.monotonic()
        self._inflight.flag(self.slot, running.number)

    def kill(self, why: str | None, *, only_with: int | None = None) -> None:
        """End it and its group at once; with `only_with` only if it still has that item in hand."""
        if only_with is not None:
            if not freeze(self.pid):
                return
            if self.started_ms(only_with) is None:
                os.kill(self.pid, signal.SIGCONT)
                return
        self.ending = self.ending or why
        signal_group(self.pid, signal.SIGKILL)

    def retire(self) -> None:
        """It finishes what it runs and ends."""
        self.retiring = True
        os.kill(self.pid, signal.SIGTERM)

    def reap(self) -> int:
        """After its death: end what it left in its group, free all that it had. Returns its exit code, or minus the
        signal."""
        signal_group(self.pid, signal.SIGKILL)  # before wait(): until then nobody else can have this number
        status = self._process.wait()
        os.close(self.pidfd)
        self._release()
        return status

    def _release(self) -> None:
        self._inflight.give(self.slot)
        self.answers.close()
        self._memory.close()
        os.close(self._output)


class _Memory:
    """The memory into which a child receives."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("batchctl-item", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, ROOM)
        self._map = mmap.mmap(self.fd, ROOM)

    def number(self) -> int:
        return int(HEADER.unpack_from(self._map)[0])

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)
