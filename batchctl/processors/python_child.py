"""A warm interpreter that calls one function for item after item, until its worker closes the socket.

Started by `python_process.py` with: module, function, folder, worker's pid, slot, in-flight file, longest result, and
the numbers of three open files: the items' socket, the answers' socket, the memory to receive into. Its standard output
and error are one file in memory that the worker reads too.
"""

from __future__ import annotations

import faulthandler
import importlib
import inspect
import json
import math
import mmap
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from batchctl.handlers import Item, Permanent, Retry, Unavailable
from batchctl.inflight import InFlight
from batchctl.processors.files import check
from batchctl.processors.output import contents
from batchctl.processors.python_wire import HEADER, ROOM, Frame, encode, read

if TYPE_CHECKING:
    import asyncio

_CAPTURE = 1_000_000  # bytes of one item's printed text that are kept, the last ones
_TRACE = 8_000
_PROGRESS_EVERY = 0.1  # seconds
_PR_SET_PDEATHSIG = 1

# Strict, unlike msgspec, which writes NaN as null.
_json = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


class NotJsonError(Exception):
    """The result can't be stored."""


class Answers:
    """The line back to the worker; any thread may write."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        line = encode(frame)
        with self._lock:
            self._socket.sendall(line)


class CallContext:
    """See `handlers.Context`."""

    def __init__(self, item: Item, answers: Answers, inflight: InFlight, slot: int) -> None:
        self.idempotency_key = item.idempotency_key
        self.artifacts: list[str] = []
        self.seen = False
        self._number = item.number
        self._answers = answers
        self._inflight = inflight
        self._slot = slot
        self._reported = -math.inf, 0.0

    @property
    def cancelled(self) -> bool:
        mark = self._inflight.get(self._slot)
        if mark is not None and mark.item_id == self._number == mark.word:
            self.seen = True
        return self.seen

    def progress(self, percent: float) -> None:
        now, value = time.monotonic(), min(100.0, max(0.0, float(percent)))
        at, last = self._reported
        if now - at >= _PROGRESS_EVERY or abs(value - last) >= 1:
            self._reported = now, value
            self._answers.send(Frame("progress", self._number, value=value))

    def log(self, text: str) -> None:
        self._answers.send(Frame("log", self._number, value=plain(f"{text}\n")))

    def artifact(self, path: str | Path) -> Path:
        whole = Path(path).absolute()
        self.artifacts.append(plain(str(whole)))
        return whole


class Child:
    """Receives, marks, calls, answers. The order of these is what the worker's accounting rests on."""

    def __init__(self, function: Callable[..., Any], answers: Answers, inflight: InFlight, slot: int, longest: int):
        self._function = function
        self._answers = answers
        self._inflight = inflight
        self._slot = slot
        self._longest = longest
        self._busy = False
        self._leave = False
        self._runner: asyncio.Runner | None = None
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, _signal: int, _frame: FrameType | None) -> None:
        """Finish what runs, take nothing more. What was received but not marked, the worker sends again."""
        self._leave = True
        if not self._busy:
            sys.exit(0)

    def run(self, items: socket.socket, memory: mmap.mmap) -> None:
        room = memoryview(memory)
        while not self._leave and (size := items.recv_into(room)):
            number, claim_no, spooled = HEADER.unpack_from(memory)
            self._busy = True
            started = time.time_ns() // 1_000_000
            self._inflight.mark(self._slot, number, claim_no, started)
            self._answers.send(self._handle(number, started, room[HEADER.size : size], spooled))
            self._inflight.clear(self._slot)
            HEADER.pack_into(memory, 0, 0, 0, 0)
            self._busy = False

    def _handle(self, number: int, started: int, body: memoryview, spooled: bool) -> Frame:
        try:
            item = read(number, Path(os.fsdecode(bytes(body))).read_bytes() if spooled else body)
        except (OSError, msgspec.MsgspecError) as error:
            return Frame("failed", number, started, f"the item can't be read: {error}", type="BadItem", permanent=True)
        context = CallContext(item, self._answers, self._inflight, self._slot)
        frame = self._outcome(item, context)
        frame.number = number
        frame.started = started
        frame.seen = context.seen
        frame.log = printed() + frame.log
        return frame

    def _outcome(self, item: Item, context: CallContext) -> Frame:
        if item.file is not None and (wrong := check(item.file)):
            return Frame("failed", value=wrong.message, type=wrong.type, permanent=wrong.permanent)
        try:
            result = _result(self._call(item, context))
        except SystemExit as end:
            message = f"the function ended its interpreter: sys.exit({end.code!r})"
            return Frame("failed", value=plain(message), type="ProcessDied")
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its item's outcome
            return failure(error)
        if len(result) > self._longest:
            message = f"the result has {len(result)} bytes as JSON, the limit (max_output) is {self._longest}"
            return Frame("failed", value=message, type="OutputTooLarge", permanent=True)
        return Frame("completed", value=msgspec.Raw(result), artifacts=tuple(context.artifacts))

    def _call(self, item: Item, context: CallContext) -> Any:
        result = self._function(item, context)
        if not isinstance(result, CoroutineType):
            return result
        if self._runner is None:
            import asyncio  # here: it would double the time that a child takes to start

            self._runner = asyncio.Runner()
        return self._runner.run(result)


def _result(value: Any) -> bytes:
    try:
        return _json.encode(value).encode()
    except UnicodeEncodeError as error:
        raise NotJsonError("the result holds text that is not UTF-8") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJsonError(f"the result is no JSON value: {error}") from error


def failure(error: BaseException) -> Frame:
    """What an exception means for the item."""
    message = plain(str(error))
    match error:
        case Retry():
            return Frame("failed", value=message or "the function asked for a retry", type="Retry", after=error.after)
        case Permanent():
            return Frame("failed", value=message or "the function gave up", type="Permanent", permanent=True)
        case Unavailable():
            message = message or "what the function needs is down"
            return Frame("down", value=message, type="Unavailable", after=error.after)
        case NotJsonError():
            return Frame("failed", value=message, type="ResultNotJson", permanent=True)
    return Frame("failed", value=message or type(error).__name__, type=type(error).__name__, log=trace(error))


def trace(error: BaseException) -> str:
    """The traceback from the first frame that is not ours."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    return plain("".join(traceback.format_exception(type(error), error, at)))[-_TRACE:]


def printed() -> str:
    """What was written to standard output and error since the last call."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):  # replaced or closed by the handler
            continue
    try:
        raw = contents(1, _CAPTURE)
        if raw:
            os.ftruncate(1, 0)
    except OSError:  # the handler has pointed its standard output elsewhere
        return ""
    return raw.decode("utf-8", "replace")


def plain(text: str) -> str:
    """Text that UTF-8 and the store can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def load(module: str, function: str) -> Callable[..., Any]:
    """The handler. Raises whatever importing it raises, AttributeError or TypeError."""
    found: Any = importlib.import_module(module)
    for name in function.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{module}:{function} is no function")
    try:
        signature = inspect.signature(found)
    except ValueError:  # some built-ins tell nothing
        return found  # type: ignore[no-any-return]  # checked by callable()
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise TypeError(f"{module}:{function} can't be called as {function}(item, context): {error}") from None
    return found  # type: ignore[no-any-return]  # as above


def _die_with(parent: int) -> None:
    """Ask the kernel to kill us when the worker dies, however it dies."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):  # no such call here: recovery will find us by our environment
        pass
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    module, function, folder, parent, slot, inflight, longest, *fds = sys.argv[1:]
    _die_with(int(parent))
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # real files here
    for fd in fds:
        os.set_inheritable(int(fd), False)
    answers = Answers(int(fds[1]))
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv[1:] = []
    try:
        handler = load(module, function)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
        name = type(error).__name__
        answers.send(Frame("broken", value=plain(str(error) or name), type=name, log=trace(error)))
        return
    child = Child(handler, answers, InFlight(Path(inflight)), int(slot), int(longest))
    answers.send(Frame("ready", log=printed()))
    child.run(socket.socket(fileno=int(fds[0])), mmap.mmap(int(fds[2]), ROOM))


if __name__ == "__main__":
    main()
