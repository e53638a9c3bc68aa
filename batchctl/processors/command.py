"""The `command` processor: a thread a slot; each takes an item, runs its command and waits for the end.

One more thread, the watcher, looks at all that run a few times a second. So nothing is set up or polled for a command
that ends at once, as most do.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from batchctl.config.structs import CommandSpec, ProcessorConfig
from batchctl.intake.placeholders import MissingField
from batchctl.masking import Masker
from batchctl.model import Broken, Cancelled, Failed, HandedBack, Item, ItemError, Outcome
from batchctl.processors.base import Context, Done, Runtime
from batchctl.processors.command_line import Call, CommandLine
from batchctl.processors.command_outcome import Why, not_started
from batchctl.processors.command_run import CommandRun
from batchctl.processors.files import check
from batchctl.processors.stdout_file import UnsafePathError
from batchctl.template import TemplateError

_TICK = 0.1


@dataclass(slots=True, eq=False)
class _Job:
    """An item between `start` and `done`. `ending`: somebody wants its end. `run` while its command runs."""

    item: Item
    context: Context
    done: Done
    ending: Why | None = None
    run: CommandRun | None = None


class CommandProcessor:
    """See `processors.base.Processor`. Raises ConfigError where a template is wrong."""

    def __init__(self, config: ProcessorConfig, runtime: Runtime, secrets: Mapping[str, Any], masker: Masker) -> None:
        if not isinstance(config.spec, CommandSpec):
            raise TypeError(f"{config.name} is no command processor")
        self._name = config.name
        self._spec = config.spec
        self._timeout = config.timeout
        self._masker = masker
        self._line = CommandLine(config, config.spec, runtime.environment, secrets)
        self._width = runtime.width
        self._jobs: dict[int, _Job] = {}
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._slots: list[threading.Thread] = []
        self._surplus = 0
        self._busy = threading.Event()
        self._closing = threading.Event()
        self._over = threading.Event()
        self._watcher: threading.Thread | None = None
        self._tick = min(_TICK, max(0.01, config.timeout / 5))

    def start(self, item: Item, context: Context, done: Done) -> None:
        job = self._jobs[item.number] = _Job(item, context, done)
        if self._closing.is_set():
            self._finish(job, HandedBack())
            return
        self._queue.put(job)
        if len(self._slots) < self._width:
            self._grow()
        if not self._busy.is_set():
            self._busy.set()

    def cancel(self, number: int, *, hand_back: bool) -> None:
        job = self._jobs.get(number)
        if job is None:
            return
        why: Why = "hand_back" if hand_back else "cancel"
        job.ending = why
        if self._take_back(job):
            self._finish(job, _interrupted(why))
        elif job.run is not None:
            job.run.end(why)

    def withdraw(self) -> list[int]:
        taken = self._drain()
        for job in taken:
            self._jobs.pop(job.item.number, None)
        return [job.item.number for job in taken]

    def resize(self, width: int) -> None:
        with self._lock:
            self._width = width
            staying = len(self._slots) - self._surplus
            leaving = max(0, staying - width)
            self._surplus += leaving
        for _ in range(leaving):
            self._queue.put(None)  # wakes an idle slot; the others look when they are done
        self._grow()

    def close(self) -> None:
        self._closing.set()
        for job in self._drain():
            self._finish(job, HandedBack())
        for number in list(self._jobs):
            self.cancel(number, hand_back=True)
        slots = list(self._slots)
        for _ in slots:
            self._queue.put(None)
        for thread in slots:
            thread.join()
        for job in list(self._jobs.values()):  # that came in between
            self._finish(job, HandedBack())
        self._over.set()
        self._busy.set()
        if self._watcher is not None:
            self._watcher.join()

    # -- slots

    def _grow(self) -> None:
        """As many slots as there is work for, up to the width."""
        with self._lock:
            while len(self._slots) - self._surplus < min(self._width, len(self._jobs)):
                if self._surplus:
                    self._surplus -= 1  # one that was to leave stays
                    continue
                thread = threading.Thread(target=self._work, name=f"command-{self._name}", daemon=True)
                self._slots.append(thread)
                thread.start()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name=f"watch-{self._name}", daemon=True)
                self._watcher.start()

    def _work(self) -> None:
        while not self._leaves():
            job = self._queue.get()
            if job is not None:
                self._finish(job, self._guarded(job))

    def _leaves(self) -> bool:
        if not self._surplus and not self._closing.is_set():
            return False
        with self._lock:
            if self._closing.is_set():
                return True
            if self._surplus:
                self._surplus -= 1
                self._slots.remove(threading.current_thread())
                return True
        return False

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        if self._jobs.pop(job.item.number, None) is not None:
            job.done(outcome)

    def _guarded(self, job: _Job) -> Outcome:
        try:
            return self._attempt(job)
        except Exception as error:  # noqa: BLE001 - the slot has other items to run
            return Failed(ItemError(type(error).__name__, self._masker(f"the command was not run: {error}")))

    def _attempt(self, job: _Job) -> Outcome:
        """What is wrong with the item or the command is an outcome, whatever it is."""
        try:
            if job.ending:
                return _interrupted(job.ending)
            if job.item.file is not None and (wrong := check(job.item.file)):
                return Failed(wrong)
            call = self._line.call(job.item)
        except TemplateError as error:
            return self._refused("TemplateError", error.message)
        except MissingField as error:
            return self._refused("TemplateError", f"the order has no field {error}")
        except ValueError as error:  # surrogates that stand for no byte
            return self._refused("BadArgument", f"a value can't be passed to the command: {error}")
        return self._execute(job, call)

    def _execute(self, job: _Job, call: Call) -> Outcome:
        if call.program is None:
            return self._not_started(OSError(errno.ENOENT, os.strerror(errno.ENOENT)), call)
        try:
            run = CommandRun(job.item, job.context, call, self._spec, self._masker)
        except UnsafePathError as error:
            return self._refused("UnsafePath", str(error))
        except OSError as error:
            return Failed(ItemError("OutputNotWritable", f"no file for its output can be made: {error}"))
        try:
            job.run = run
            if job.ending:  # cancelled between two lines
                return _interrupted(job.ending)
            return run.run(self._line.environment, self._timeout)
        except ValueError as error:
            return self._refused("BadArgument", f"a value can't be passed to the command: {error}")
        except OSError as error:
            return self._not_started(error, call)
        finally:
            job.run = None
            run.close()

    def _not_started(self, error: OSError, call: Call) -> Outcome:
        if not self._spec.cwd.is_dir():
            return Broken(ItemError("NotFound", f"the command's folder {self._spec.cwd} is not there"))
        found = call.program is not None and (self._spec.cwd / os.fsdecode(call.program)).exists()
        name = self._masker(call.name)
        return not_started(error, name, found=found, same_for_all=self._line.fixed_program)

    def _refused(self, kind: str, message: str) -> Failed:
        return Failed(ItemError(kind, self._masker(message), permanent=True))

    # -- the watcher

    def _watch(self) -> None:
        while not self._over.wait(self._tick):
            if not self._jobs:
                self._busy.clear()
                if not self._jobs and not self._over.is_set():
                    self._busy.wait()
            now = time.monotonic()
            for job in list(self._jobs.values()):
                if (run := job.run) is not None:
                    run.look(now, self._timeout)

    # -- the queue

    def _drain(self) -> list[_Job]:
        """Every job that no slot has taken."""
        taken: list[_Job | None] = []
        with suppress(Empty):
            while True:
                taken.append(self._queue.get_nowait())
        for _ in range(taken.count(None)):
            self._queue.put(None)  # still meant for an idle slot
        return [job for job in taken if job is not None]

    def _take_back(self, job: _Job) -> bool:
        """Whether it was still in the queue; the others keep their order."""
        taken = self._drain()
        for other in taken:
            if other is not job:
                self._queue.put(other)
        return job in taken


def _interrupted(why: Why) -> Outcome:
    return HandedBack() if why == "hand_back" else Cancelled()
