"""What a worker and its Python children say to one another.

To the children goes one message an item, through a socket that all of them read:

    header   number, claim_no, spooled
    body     JSON; or, where it is too large for the socket, the path of a file that holds it

A child receives straight into memory that it shares with the worker. So the worker of a child that died sees which
item it had taken, with no moment between taking and telling.

Back comes one JSON array a line (`Frame`), through a socket for each child.
"""

from __future__ import annotations

import os
import struct
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import msgspec

from batchctl.handlers import Item as HandlerItem
from batchctl.model import BatchRef, FileRef, Item

HEADER = struct.Struct("<QQQ")
ROOM = 64 * 1024  # the longest message, header included


class Frame(msgspec.Struct, array_like=True, gc=False):
    """One line from a child.

    kind      ready, broken; for an item: progress, log, and at its end completed, failed, down, dead
    started   when the function was called, ms UTC
    value     result, percent, text, or message
    log       what the function printed since the last answer
    seen      the function has asked whether it was cancelled, and heard yes
    """

    kind: str
    number: int = 0
    started: int = 0
    value: Any = None
    log: str = ""
    artifacts: tuple[str, ...] = ()
    seen: bool = False
    type: str = ""
    permanent: bool = False
    after: float | None = None


class _Body(msgspec.Struct, array_like=True, gc=False):
    key: str
    attempt: int
    idempotency_key: str
    batch: msgspec.Raw
    payload: dict[str, Any]
    file: tuple[str, str, int, str, str] | None
    steps: dict[str, Any] | None = None


_encoder = msgspec.json.Encoder()
_bodies = msgspec.json.Decoder(_Body)
_batches = msgspec.json.Decoder(BatchRef)
_frames = msgspec.json.Decoder(Frame)


def header(item: Item, *, spooled: bool = False) -> bytearray:
    return bytearray(HEADER.pack(item.number, item.claim_no, spooled))


def message(item: Item) -> bytearray:
    """Header and body; may be longer than ROOM."""
    whole = header(item)
    file = item.file and (_narrow(item.file.path), _narrow(item.file.name), item.file.size,
                          item.file.sha256, item.file.media_type)  # fmt: skip
    payload = msgspec.Raw(item.raw_payload)
    body: tuple[Any, ...] = (item.key, item.attempt, item.idempotency_key, _batch(item.batch), payload, file)
    if item.kept:
        body = (*body, {one.step: msgspec.Raw(one.result or "null") for one in item.kept if one.finished})
    _encoder.encode_into(body, whole, HEADER.size)
    return whole


def number_of(message: bytes | bytearray) -> int:
    return int(HEADER.unpack_from(message)[0])


def read(number: int, body: bytes | memoryview) -> HandlerItem:
    """The child's side of `message`."""
    found = _bodies.decode(body)
    file = found.file
    return HandlerItem(
        number,
        found.key,
        found.payload,
        file and FileRef(_wide(file[0]), _wide(file[1]), *file[2:]),
        _read_batch(bytes(found.batch)),
        found.attempt,
        found.idempotency_key,
        found.steps or {},
    )


def encode(frame: Frame) -> bytes:
    return _encoder.encode(frame) + b"\n"


def decode(lines: bytes) -> list[Frame]:
    """Raises msgspec.MsgspecError where a child has written something else there."""
    return _frames.decode_lines(lines)


class _BatchTexts:
    """The text of each batch that items came from lately, found by identity: to hash a BatchRef costs more than the
    rest of a message."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._known: dict[int, tuple[BatchRef, msgspec.Raw]] = {}

    def __call__(self, batch: BatchRef) -> msgspec.Raw:
        known = self._known.get(id(batch))
        if known is None:  # what is known is kept alive, so no other batch can have its id
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[id(batch)] = batch, msgspec.Raw(_encoder.encode(asdict(batch)))
        return known[1]


_batch = _BatchTexts()


@lru_cache(maxsize=64)
def _read_batch(text: bytes) -> BatchRef:
    return _batches.decode(text)


def _narrow(path: str) -> str:
    """A path as text that JSON can carry whatever bytes it has."""
    return os.fsencode(path).decode("latin-1")


def _wide(text: str) -> str:
    return os.fsdecode(text.encode("latin-1"))
