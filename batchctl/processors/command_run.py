"""One run of a command: starts it, waits for its end, and may be ended by another thread meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace

from batchctl.config.structs import CommandSpec
from batchctl.masking import Masker
from batchctl.model import Completed, Failed, Item, ItemError, Outcome
from batchctl.processors import quick
from batchctl.processors.base import Context
from batchctl.processors.command_line import Call
from batchctl.processors.command_outcome import Ended, Why, failure, result, too_large
from batchctl.processors.output import SHOWN, Follower, Told, append_file, contents, memory_file
from batchctl.processors.processes import end_rest, signal_group
from batchctl.processors.spawn import Environment, spawn
from batchctl.processors.stdout_file import StdoutFile, target

KILL_AFTER = 5.0  # seconds between TERM and KILL
_LOGGED = 100_000  # bytes of standard output that a failed item's log keeps


class CommandRun:
    """Made, started and finished by a slot's thread. `look` and `end` are for the watcher and the worker.

    Raises OSError or UnsafePathError where its files can't be made.
    """

    def __init__(self, item: Item, context: Context, call: Call, spec: CommandSpec, masker: Masker) -> None:
        self._context = context
        self._call = call
        self._spec = spec
        self._masker = masker
        self._inline = item.definition is not None
        self._lock = threading.Lock()
        self._group = 0
        self._over = False
        self._why: Why | None = None
        self._kill_at: float | None = None
        self._killed = False
        self._file: StdoutFile | None = None
        if call.stdout_to is not None and spec.stdout_to is not None:
            self._file = StdoutFile(target(call.stdout_to, spec.stdout_to, spec.cwd, item.file), item.number)
        self._input = memory_file(call.stdin)
        self._output = self._file.fd if self._file else append_file()
        self._errors = Follower(append_file())
        self.began = time.monotonic()

    def run(self, environment: Environment, timeout: float) -> Outcome:
        """Start it and wait for its end. Raises OSError where it can't be executed, ValueError for a bad argument."""
        call = self._call
        assert call.program is not None
        fds = (self._input, self._output, self._errors.fd)
        self._context.started()
        self.began = time.monotonic()
        with self._lock:
            self._group = spawn(call.program, call.argv, environment, call.more, os.fsencode(self._spec.cwd), fds)
        if self._why:
            self.end(self._why)
        return self._outcome(self._wait(), timeout)

    def _wait(self) -> int:
        """The exit code, or minus the signal, when nothing of its group is left."""
        # Not reaped yet: as long as it is a zombie nobody else gets its number, and other threads may signal the group.
        os.waitid(os.P_PID, self._group, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._over = True
        status = os.waitstatus_to_exitcode(quick.reap(self._group))
        end_rest(self._group, KILL_AFTER)
        return status

    def _outcome(self, status: int, timeout: float) -> Outcome:
        told = self._errors.rest()
        log = self._masker(told.text) if told.text else ""
        if status == 0 and self._why is None:
            return self._completed(log)
        tail, more = self._errors.tail, ""
        if self._file is None:
            more = contents(self._output, _LOGGED).decode("utf-8", "replace")
            more = self._masker(more) if more else ""
            tail = tail if tail.strip() else more
        tail = self._masker(tail)[-SHOWN:]
        ended = Ended(status, self._why, tail, self._errors.retry_after, log + more)
        failed = failure(ended, self._spec, self._masker(self._call.name), timeout)
        assert failed is not None
        if self._file is None and isinstance(failed, Failed) and self._why != "too_large":
            return replace(failed, output=self._shown(os.pread(self._output, self._spec.max_output, 0)))
        return failed

    def _completed(self, log: str) -> Outcome:
        if self._file is not None:
            return self._kept(self._file, log)
        raw = self._written()
        if raw is None:
            return too_large(self._spec, log)
        try:
            value = result(raw, self._spec.output)
        except ValueError as error:
            return Failed(ItemError("OutputNotJson", self._masker(str(error)), permanent=True), log=log)
        return Completed(value if self._masker.empty else self._masker.value(value), log, output=self._shown(raw))

    def _written(self) -> bytes | None:
        """All of its standard output; None where that is too much."""
        small = quick.read_small(self._output)
        if small is not None:
            return small if len(small) <= self._spec.max_output else None
        size = os.fstat(self._output).st_size
        return os.pread(self._output, size, 0) if size <= self._spec.max_output else None

    def _shown(self, raw: bytes) -> bytes:
        """What the screen of `enqueue --run -- COMMAND` gets: whatever it is, without secrets."""
        if not self._inline or self._masker.empty:
            return raw if self._inline else b""
        return self._masker(raw.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _kept(self, file: StdoutFile, log: str) -> Outcome:
        path = os.fsencode(file.path).decode("utf-8", "backslashreplace")
        try:
            size = file.keep()
        except OSError as error:
            return Failed(ItemError("OutputNotWritable", f"{path}: {error.strerror}"), log=log)
        return Completed({"path": path, "size": size}, log, artifacts=(path,))

    # -- for other threads

    def end(self, why: Why) -> None:
        """End it: TERM to the group, and later, by `look`, KILL. The first reason holds."""
        with self._lock:
            self._why = self._why or why
            if self._over or not self._group or self._kill_at is not None:
                return
            self._kill_at = time.monotonic() + KILL_AFTER
            signal_group(self._group, signal.SIGKILL if why == "too_large" else signal.SIGTERM)
            signal_group(self._group, signal.SIGCONT)  # a stopped one would not notice

    def look(self, now: float, timeout: float) -> None:
        """Pass on what it says, see that it does not run too long or write too much."""
        with self._lock:
            if self._over or not self._group:
                return
            told = self._errors.lines()
            large = self._file is None and os.fstat(self._output).st_size > self._spec.max_output
            if self._kill_at is not None and now > self._kill_at and not self._killed:
                self._killed = True
                signal_group(self._group, signal.SIGKILL)
        self._pass_on(told)
        if large:
            self.end("too_large")
        elif now - self.began > timeout:
            self.end("timeout")

    def _pass_on(self, told: Told) -> None:
        if told.percent is not None:
            self._context.progress(told.percent)
        if told.text:
            self._context.log(self._masker(told.text))

    def close(self) -> None:
        """Free its files."""
        with self._lock:
            self._over = True
            quick.close(self._input)
            quick.close(self._errors.fd)
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            else:
                quick.close(self._output)
