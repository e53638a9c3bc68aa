"""Which encoding a text has, decided by all of its bytes."""

from __future__ import annotations

import codecs
from typing import BinaryIO

_BLOCK = 1 << 20
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r"))
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(stream: BinaryIO) -> str:
    """The codec to read the stream with: by its byte order mark, else UTF-8 where every byte fits it, else
    Windows-1252, else Latin-1. The stream is read to its end and set back to its start."""
    stream.seek(0)
    head = stream.read(4)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            stream.seek(0)
            return codec
    for codec in ("utf-8", "cp1252"):
        if _fits(stream, codec):
            return codec
    return "latin-1"


def is_binary(head: bytes) -> bool:
    """Whether so many bytes are control characters that no one wrote it as text. A byte order mark makes it text."""
    if any(head.startswith(mark) for mark, _ in _MARKS):
        return False
    return len(head) - len(head.translate(None, _CONTROLS)) > len(head) // 20


def bom_length(head: bytes) -> int:
    """How many bytes of a UTF-8 byte order mark the text begins with: 0 or 3."""
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0


def _fits(stream: BinaryIO, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    stream.seek(0)
    try:
        while block := stream.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        stream.seek(0)
    return True
