"""Reads input in a thread of its own while the items before are being stored: SQLite works without the interpreter's
lock, so two cores are used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from queue import Queue
from typing import TypeVar

T = TypeVar("T")
_DEPTH = 2  # chunks in memory beside the one that is being stored


def chunks_ahead(items: Iterable[T], size: int) -> Generator[list[T], None, None]:
    """The items in lists of `size`, in order. What iterating raises is raised here. Short input starts no thread."""
    stream = iter(items)
    first = list(islice(stream, size))
    if first:
        yield first
    if len(first) == size:
        yield from _read_ahead(stream, size)


def _read_ahead(stream: Iterator[T], size: int) -> Iterator[list[T]]:
    chunks: Queue[list[T] | BaseException] = Queue(_DEPTH)
    enough = threading.Event()

    def read() -> None:
        try:
            while not enough.is_set():
                chunk = list(islice(stream, size))
                chunks.put(chunk)
                if not chunk:
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the chunks are used
            chunks.put(error)

    threading.Thread(target=read, name="intake", daemon=True).start()
    try:
        while True:
            chunk = chunks.get()
            if isinstance(chunk, BaseException):
                raise chunk
            if not chunk:
                return
            yield chunk
    finally:
        enough.set()
        while not chunks.empty():  # the thread may wait for room
            chunks.get_nowait()
