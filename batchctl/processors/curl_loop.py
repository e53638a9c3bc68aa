"""One thread in which libcurl carries the requests of all `http` processors of a worker.

libcurl's multi interface keeps hundreds of transfers going in one thread, and most of its work is done without the
interpreter's lock, beside the worker's own. An epoll set drives it: its own `select` ends at 1,024 files.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pycurl  # type: ignore[import-untyped]  # it brings no types

Ended = Callable[[int, str], None]

_CONNECTIONS = 4096  # kept alive at most; far more than a worker is wide
_BAD = select.EPOLLERR | select.EPOLLHUP

_log = logging.getLogger(__name__)
_guard = threading.Lock()
_shared: CurlLoop | None = None


class CurlLoop:
    """`borrow` one, `give_back` when done; the last to do so ends the thread. All but `soon` is for its own thread."""

    def __init__(self) -> None:
        self.borrowers = 0
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._transfers: dict[pycurl.Curl, Ended] = {}
        self._idle: list[pycurl.Curl] = []
        self._sockets: dict[int, int] = {}
        self._due: float | None = None
        self._running = True
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def soon(self, call: Callable[..., object], *args: Any) -> None:
        """Have the thread call it; returns at once, from any thread."""
        self._calls.append((call, args))
        if threading.get_ident() != self._thread.ident:
            os.eventfd_write(self._bell, 1)

    def handle(self) -> pycurl.Curl:
        """A handle with no options set."""
        return self._idle.pop() if self._idle else pycurl.Curl()

    def send(self, handle: pycurl.Curl, ended: Ended) -> None:
        """Start the transfer; `ended` gets libcurl's code (0: there is an answer) and words. Then `free` the handle."""
        self._transfers[handle] = ended
        self._multi.add_handle(handle)

    def free(self, handle: pycurl.Curl) -> None:
        """Take a handle back, and end its transfer if it still runs."""
        if self._transfers.pop(handle, None) is not None:
            self._multi.remove_handle(handle)
        handle.reset()
        self._idle.append(handle)

    def end(self) -> None:
        """Stop and wait for the thread. From another thread, once nothing is under way."""
        self.soon(self._stop)
        self._thread.join()

    def _stop(self) -> None:
        self._running = False

    def _run(self) -> None:
        while self._running or self._calls:
            for file, events in self._epoll.poll(self._pause()):
                if file == self._bell:
                    os.eventfd_read(self._bell)
                else:
                    self._multi.socket_action(file, _curl_events(events))
            # In this order an answer leads to the next request before the sockets are looked at again.
            self._collect()
            for _ in range(len(self._calls)):
                call, args = self._calls.popleft()
                _guarded(call, *args)
            if self._due is not None and self._due <= time.monotonic():
                self._due = None
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
                self._collect()  # what failed at once: no socket would tell
        self._close()

    def _pause(self) -> float:
        """Seconds to wait for sockets; -1: as long as it takes."""
        if self._calls:
            return 0.0
        return -1.0 if self._due is None else max(0.0, self._due - time.monotonic())

    def _collect(self) -> None:
        left = 1
        while left:
            left, succeeded, failed = self._multi.info_read()
            for handle in succeeded:
                self._ended(handle, 0, "")
            for handle, code, words in failed:
                self._ended(handle, code, words)

    def _ended(self, handle: pycurl.Curl, code: int, words: str) -> None:
        ended = self._transfers.pop(handle)
        self._multi.remove_handle(handle)
        _guarded(ended, code, words)

    def _watch(self, what: int, file: int, _multi: Any, _data: Any) -> None:
        """libcurl says which sockets it waits for, and for what."""
        known = self._sockets.pop(file, None)
        if what == pycurl.POLL_REMOVE:
            if known is not None:
                self._epoll.unregister(file)
            return
        events = (select.EPOLLIN if what & pycurl.POLL_IN else 0) | (select.EPOLLOUT if what & pycurl.POLL_OUT else 0)
        self._sockets[file] = events
        if known is None:
            self._epoll.register(file, events)
        elif known != events:
            self._epoll.modify(file, events)

    def _set_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _close(self) -> None:
        for handle in self._idle:
            handle.close()
        self._multi.close()
        self._epoll.close()
        os.close(self._bell)


def _guarded(call: Callable[..., object], *args: Any) -> None:
    """A fault in one item's code must not end the thread that all items depend on."""
    try:
        call(*args)
    except Exception:  # noqa: BLE001 - as the docstring says; it is logged
        _log.exception("the http thread goes on after an error")


def borrow() -> CurlLoop:
    """The worker's loop; the first to ask starts it."""
    global _shared
    with _guard:
        if _shared is None:
            _shared = CurlLoop()
        _shared.borrowers += 1
        return _shared


def give_back(loop: CurlLoop) -> None:
    """End the loop and its thread where nobody else uses it."""
    global _shared
    with _guard:
        loop.borrowers -= 1
        if loop.borrowers:
            return
        _shared = None
    loop.end()


def _curl_events(events: int) -> int:
    found = 0
    if events & select.EPOLLIN:
        found |= pycurl.CSELECT_IN
    if events & select.EPOLLOUT:
        found |= pycurl.CSELECT_OUT
    if events & _BAD:
        found |= pycurl.CSELECT_ERR
    return found
