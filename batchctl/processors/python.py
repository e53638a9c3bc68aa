"""The `python` processor: calls a function in warm child interpreters.

The children take items from one shared socket, so a slow item delays only itself. A thread of the worker reads their
answers, sees that none runs too long, and puts a new child in the place of one that died. What dies with a child is the
attempt that it was working on and no more.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from batchctl.config.structs import ProcessorConfig, PythonSpec
from batchctl.masking import Masker
from batchctl.model import Broken, Failed, HandedBack, Item, ItemError, Outcome
from batchctl.processors.base import Context, Done, Runtime
from batchctl.processors.processes import describe
from batchctl.processors.python_outcome import answered, died, interrupted
from batchctl.processors.python_process import ChildProcess, Running
from batchctl.processors.python_queue import ItemQueue
from batchctl.processors.python_wire import Frame

_TICK = 0.1  # seconds between looks at what runs
_GRACE = 1.0  # a cancelled function has this long to see it and return
_START = 120.0  # a module that takes longer to import is broken
_LEAVE = 2.0  # idle children may take this long to end
_EARLY_DEATHS = 5  # children that died with nothing in hand, one after the other
# Fast answers are read by the handful: each wake-up of this thread takes the interpreter from the worker's own.
_MANY = 64
_NAP = 0.002


@dataclass(slots=True)
class _Job:
    """An item between `start` and `done`. `ending`: somebody wants its end, `cancel` or `hand_back`."""

    item: Item
    context: Context
    done: Done
    ending: str | None = None
    announced: bool = False


class PythonProcessor:
    """See `processors.base.Processor`. Jobs leave `_jobs` exactly once, so `done` is called exactly once."""

    def __init__(self, config: ProcessorConfig, runtime: Runtime, _secrets: Mapping[str, Any], masker: Masker) -> None:
        if not isinstance(config.spec, PythonSpec):
            raise TypeError(f"{config.name} is no python processor")
        self._config = config
        self._spec = config.spec
        self._runtime = runtime
        self._masker = masker
        self._origin = f"python:{config.spec.module}:{config.spec.function}"
        self._width = runtime.width
        self._jobs: dict[int, _Job] = {}
        self._queue = ItemQueue(runtime.folder)
        self._children: list[ChildProcess] = []
        self._broken: Broken | None = None
        self._crashed = False
        self._early_deaths = 0
        self._closing: float | None = None
        self._hire_at = 0.0
        self._look_at = 0.0
        self._tick = min(_TICK, max(0.01, config.timeout / 5))
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._woken)
        self._waiting_for_room = False
        self._dozing = False  # the thread waits without an end: a new item must wake it
        self._thread = threading.Thread(target=self._run, name=f"python-{config.name}", daemon=True)

    # -- what the worker calls

    def start(self, item: Item, context: Context, done: Done) -> None:
        self._jobs[item.number] = _Job(item, context, done)
        if self._closing is not None:
            self._end(item.number, HandedBack())
            return
        try:
            behind = self._queue.put(item)
        except OSError as error:
            reason = ItemError("SpoolFailed", f"the item can't be handed to a child: {error.strerror}")
            self._end(item.number, Failed(reason))
            return
        if self._broken and self._crashed:
            self._end(item.number, self._broken)
        elif behind or self._broken or self._dozing or len(self._children) < min(self._width, len(self._jobs)):
            self._wake()

    def cancel(self, number: int, *, hand_back: bool) -> None:
        job = self._jobs.get(number)
        if job is None:
            return
        job.ending = "hand_back" if hand_back else "cancel"
        if self._queue.withdraw({number}):
            self._end(number, interrupted(job.ending))

    def withdraw(self) -> list[int]:
        numbers = self._queue.withdraw()
        for number in numbers:
            self._jobs.pop(number, None)
        return numbers

    def resize(self, width: int) -> None:
        self._width = width
        self._wake()

    def close(self) -> None:
        self._closing = time.monotonic() + _LEAVE
        for number in self._queue.withdraw():
            self._end(number, HandedBack())
        if self._thread.is_alive():
            self._wake()
            self._thread.join()
        for number in list(self._jobs):  # that came in between
            self._end(number, HandedBack())
        self._queue.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    # -- the thread

    def _wake(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        with suppress(BlockingIOError):  # full: it is awake already
            self._wake_in.send(b".")

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self._crashed = True
            self._break(ItemError("InternalError", self._masker(f"{type(error).__name__}: {error}")))
            for child in self._children:
                child.kill(None)
            for number in list(self._jobs):
                self._end(number, self._broken or HandedBack())
            raise  # to the thread's excepthook, which tells the developer

    def _work(self) -> None:
        leaving = False
        while self._closing is None or self._children:
            if self._closing is not None and not leaving:
                leaving = True
                self._dismiss()
            self._staff()
            self._dozing = not (self._jobs or leaving)
            # Looked at again: an item that came before the line above has not seen that we doze.
            events = self._selector.select(None if self._dozing and not self._jobs else self._tick)
            self._dozing = False
            for key, _ in events:
                key.data()
            self._look()
            if events and len(self._jobs) > _MANY:
                time.sleep(_NAP)

    def _woken(self) -> None:
        self._wake_out.recv(4096)

    def _room(self) -> None:
        """Have the selector tell when the socket takes more, as long as something is left over."""
        behind = self._closing is None and self._queue.flush()
        if behind and not self._waiting_for_room:
            self._selector.register(self._queue, selectors.EVENT_WRITE, self._room)
        elif self._waiting_for_room and not behind:
            self._selector.unregister(self._queue)
        self._waiting_for_room = behind

    def _staff(self) -> None:
        """As many children as there is work for, up to the width."""
        self._room()
        if self._closing is not None:
            return
        if self._broken:
            for number in self._queue.withdraw():
                self._end(number, self._broken)
            return
        staying = [child for child in self._children if not child.retiring]
        for child in staying[self._width :]:
            child.retire()
        if time.monotonic() >= self._hire_at:
            for _ in range(min(self._width, len(self._jobs)) - len(staying)):
                self._hire()

    def _hire(self) -> None:
        try:
            child = ChildProcess(self._config, self._spec, self._runtime, self._queue.theirs)
        except (FileNotFoundError, PermissionError) as error:
            self._break(ItemError("StartFailed", f"no child interpreter can be started: {error}"))
            return
        except OSError:  # too many processes or files just now
            self._hire_at = time.monotonic() + 1.0
            return
        self._children.append(child)
        self._selector.register(child.answers, selectors.EVENT_READ, lambda: self._receive(child))
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._bury(child))

    def _receive(self, child: ChildProcess) -> None:
        if child not in self._children:  # buried in this same round
            return
        try:
            for frame in child.receive():
                self._take(child, frame)
        except msgspec.MsgspecError:  # something else wrote into its line
            child.silent = True
            child.kill(None)
        if child.silent:  # as a rule it is about to end, and its status will tell why
            child.silent_since = time.monotonic()
            self._selector.unregister(child.answers)

    def _take(self, child: ChildProcess, frame: Frame) -> None:
        match frame.kind:
            case "ready":
                child.ready = True
            case "broken":
                self._break(ItemError(frame.type, self._masker(frame.value)), self._masker(frame.log))
            case "progress" if job := self._jobs.get(frame.number):
                job.context.progress(frame.value)
            case "log" if job := self._jobs.get(frame.number):
                job.context.log(self._masker(frame.value))
            case "completed" | "failed" | "down" if job := self._jobs.get(frame.number):
                self._early_deaths = 0
                _announce(job, frame.started)
                log = frame.log[child.passed_on(frame.number) :] if frame.log else ""
                if job.ending and frame.seen:
                    self._end(frame.number, interrupted(job.ending, self._masker(log)))
                else:
                    self._end(frame.number, answered(frame, log, self._masker, self._origin))

    def _bury(self, child: ChildProcess) -> None:
        """It is dead: what it answered counts, what it was working on has lost an attempt, what it had only taken is
        given to another."""
        if not child.silent:
            self._receive(child)
        self._children.remove(child)
        for end in (child.answers, child.pidfd):
            with suppress(KeyError):
                self._selector.unregister(end)
        number = child.holds()
        started, log = child.started_ms(number), self._masker(child.printed(number))
        status = child.reap()
        job = self._jobs.get(number)
        if job is None:
            self._died_early(child, status, log)
        elif started is None:
            self._again(job)
        else:
            _announce(job, started)
            ending = "hand_back" if self._closing else child.ending
            self._end(number, died(ending, describe(status), self._config.timeout, log))

    def _again(self, job: _Job) -> None:
        if self._closing or job.ending:
            self._end(job.item.number, interrupted(job.ending or "hand_back"))
        else:
            self._queue.put(job.item, first=True)

    def _died_early(self, child: ChildProcess, status: int, log: str) -> None:
        """A child that ends before it can work is the module's fault. A signal may have come from anywhere, so that
        must happen a few times."""
        if child.retiring or child.ending or self._closing or (child.ready and status == 0):
            return
        self._early_deaths += 1
        if (not child.ready and status >= 0) or self._early_deaths >= _EARLY_DEATHS:
            message = f"{self._spec.module}: its interpreter ended before it could work: {describe(status)}"
            self._break(ItemError("ProcessDied", message), log)

    def _look(self) -> None:
        """Enforce timeouts and cancels, pass on what is printed; a few times a second."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._tick
        for child in self._children:
            if child.ending:
                continue
            if child.silent and now - child.silent_since > _GRACE:
                child.kill(None)
            elif self._closing and now > self._closing:
                child.kill("hand_back")
            elif not child.ready:
                self._look_at_start(child, now)
            elif (running := child.look()) and (job := self._jobs.get(running.number)):
                self._look_at_job(child, running, job, now)

    def _look_at_start(self, child: ChildProcess, now: float) -> None:
        if now - child.born > _START:
            child.kill("start")
            self._break(ItemError("ImportTimeout", f"{self._spec.module}: importing it took over {_START:g} s"))

    def _look_at_job(self, child: ChildProcess, running: Running, job: _Job, now: float) -> None:
        _announce(job, running.started_ms)
        if text := child.follow(running):
            job.context.log(self._masker(text))
        if job.ending and running.told is None:
            child.tell(running)
        elif job.ending and running.told is not None and now - running.told > _GRACE:
            child.kill(job.ending, only_with=running.number)
        elif now - running.since > self._config.timeout:
            child.kill("timeout", only_with=running.number)

    def _dismiss(self) -> None:
        """The worker closes: who is idle reads the end of the socket, who works is ended."""
        self._queue.close()
        for child in self._children:
            if child.holds() and not child.ending:
                child.kill("hand_back")

    def _break(self, error: ItemError, log: str = "") -> None:
        """No item can be done by this processor."""
        self._broken = self._broken or Broken(error, log)

    def _end(self, number: int, outcome: Outcome) -> None:
        job = self._jobs.pop(number, None)
        if job is not None:
            self._queue.forget(number)
            job.done(outcome)


def _announce(job: _Job, started_ms: int) -> None:
    """Tell the worker once when the item was begun: while it runs, or with its end."""
    if not job.announced:
        job.announced = True
        job.context.started(started_ms)
