"""Where orders come from: a file or standard input, in whatever format its content shows."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from batchctl.intake import delimited, jsonlines, jsonvalues, xlsx
from batchctl.intake.names import readable
from batchctl.intake.problems import Problems
from batchctl.intake.records import NotARecord, Record, object_of
from batchctl.intake.text import bom_length, encoding_of, is_binary

_HEAD = 1 << 20
_LINES = 20  # that are looked at to tell JSON Lines from objects over several lines
_OTHERS = (
    (b"\xd0\xcf\x11\xe0", "is an old Excel or Word file, or has a password", "save it as .xlsx or CSV"),
    (b"\x1f\x8b", "is compressed with gzip", "use `zcat FILE | batchctl enqueue orders - …`"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "use `zstdcat FILE | batchctl enqueue orders - …`"),
    (b"BZh", "is compressed with bzip2", "use `bzcat FILE | batchctl enqueue orders - …`"),
    (b"%PDF-", "is a PDF", "use `batchctl enqueue files` for files"),
    (b"SQLite format 3\0", "is an SQLite database", "export the table as CSV first"),
)

Note = Callable[[str], None]


def records(source: str, problems: Problems, note: Note) -> Iterator[Record]:
    """The records of one source ("-" is standard input) as a stream; what is wrong goes to `problems`.

    `note` hears what a user should know (another encoding than UTF-8, which sheet was read).
    """
    name = name_of(source)
    try:
        yield from _records(source, name, problems, note)
    except OSError as error:
        problems.add(name, f"cannot be read: {error.strerror or error}")


def _records(source: str, name: str, problems: Problems, note: Note) -> Iterator[Record]:
    with _opened(source) as stream:
        before = problems.count
        # Closed before the stream, also where nobody reads to the end.
        with closing(_read(stream, name, Path(source).suffix.lower(), problems, note)) as found:
            first = next(found, None)
            if first is not None:
                yield first
                yield from found
            elif problems.count == before:
                problems.add(name, "holds no records")


def name_of(source: str) -> str:
    """What messages call it."""
    return "stdin" if source == "-" else readable(source)


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """The source, seekable. Raises OSError."""
    with _standard_input() if source == "-" else Path(source).open("rb") as stream:
        if stream.seekable():
            yield stream
            return
        with _spooled(stream) as copy:  # of a named pipe, of <(a command)
            yield copy


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise OSError("there is no standard input")
    return _spooled(sys.stdin.buffer)


def _spooled(stream: BinaryIO) -> BinaryIO:
    """A copy on disk, because a format is known only after a look at everything."""
    copy = tempfile.TemporaryFile(prefix="batchctl-")  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(stream, copy, _HEAD)
    copy.seek(0)
    return cast(BinaryIO, copy)


def _read(stream: BinaryIO, name: str, suffix: str, problems: Problems, note: Note) -> Generator[Record, None, None]:
    head = stream.read(_HEAD)
    stream.seek(0)
    if head.startswith(b"PK\x03\x04"):
        yield from xlsx.read(stream, name, problems, note)
    elif other := _other(head):
        problems.add(name, other)
    elif suffix in (".jsonl", ".ndjson") or (_is_json(head, suffix) and _is_by_line(head)):
        yield from jsonlines.read(stream, name, problems)
    elif _is_json(head, suffix):
        yield from jsonvalues.read(stream, name, problems)
    elif is_binary(head):
        problems.add(name, "is no text; orders come as CSV, TSV, JSON, JSON Lines or XLSX")
    else:
        yield from _delimited(stream, name, suffix, problems, note)


def _delimited(stream: BinaryIO, name: str, suffix: str, problems: Problems, note: Note) -> Iterator[Record]:
    encoding = encoding_of(stream)
    if encoding in ("cp1252", "latin-1"):
        note(f"{name}: is not UTF-8, read as {'Windows-1252' if encoding == 'cp1252' else 'Latin-1'}")
    delimiter = "\t" if suffix == ".tsv" else None
    return delimited.read(stream, name, problems, encoding=encoding, delimiter=delimiter)


def _is_json(head: bytes, suffix: str) -> bool:
    return suffix == ".json" or (suffix not in (".csv", ".tsv") and _shape(head)[:1] in (b"[", b"{"))


def _is_by_line(head: bytes) -> bool:
    """Whether the first line is an object of its own and no other begins one that goes on, as in JSON Lines."""
    text = _shape(head)
    lines = [line for line in text.split(b"\n", _LINES)[:_LINES] if line.strip()]
    if text[:1] != b"{" or any(line.rstrip().endswith((b"{", b"[", b",")) for line in lines):
        return False
    try:
        object_of(lines[0])
    except NotARecord:
        return len(lines) == 1  # let the reader of lines tell what is wrong with it
    return True


def _shape(head: bytes) -> bytes:
    return head[bom_length(head) :].lstrip()


def _other(head: bytes) -> str | None:
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            return f"{what}; {hint}"
    return None
