"""CSV and its relatives: any common delimiter, quoted line breaks, whatever encoding. All values stay text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO, TextIO

import msgspec

from batchctl.intake.problems import Problems
from batchctl.intake.records import Record

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16
_SAMPLE_ROWS = 100
_LONGEST_VALUE = 10_000_000


def read(
    stream: BinaryIO, name: str, problems: Problems, *, encoding: str, delimiter: str | None = None
) -> Iterator[Record]:
    """Every row as an object, with the line on which it begins. Bad rows and headers go to `problems`.

    `delimiter` is found out where it is None. Rows without any value are passed over.
    """
    csv.field_size_limit(_LONGEST_VALUE)
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    try:
        skipped, delimiter = _begin(text, delimiter)
        rows = _rows(text, name, problems, delimiter, skipped)
        head = next(rows, None)
        if head is None:
            return
        names = column_names(head[1], f"{name}:{head[0]}", problems)
        if names:
            yield from _records(rows, names, name, problems)
    except UnicodeDecodeError as error:
        problems.add(name, f"is not {error.encoding} text, though its first bytes say so")
    finally:
        text.detach()


def column_names(header: Sequence[str], where: str, problems: Problems) -> list[str]:
    """The header without empty names at its end; [] where it can't be used, which `problems` then explains."""
    names = list(header)
    while names and not names[-1].strip():
        names.pop()
    before = problems.count
    seen: dict[str, int] = {}
    for column, column_name in enumerate(names, 1):
        if not column_name.strip():
            problems.add(where, f"column {column} has no name")
        elif column_name in seen:
            problems.add(where, f"columns {seen[column_name]} and {column} have the same name {column_name!r}")
        seen.setdefault(column_name, column)
    return names if problems.count == before else []


def find_delimiter(sample: str) -> str:
    """The delimiter that splits the header and agrees with the most rows; a comma where nothing splits it."""

    def score(delimiter: str) -> tuple[bool, float, int]:
        rows = [row for row in _sample_rows(sample, delimiter) if row]
        width = len(rows[0]) if rows else 0
        same = sum(len(row) == width for row in rows)
        return width > 1, same / max(len(rows), 1), width

    return max(_DELIMITERS, key=score)


def _sample_rows(sample: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) == _SAMPLE_ROWS:
                break
    except csv.Error:
        return rows
    return rows[:-1] if len(sample) == _SAMPLE and len(rows) > 1 else rows  # the last one may be cut


def _begin(text: TextIO, delimiter: str | None) -> tuple[int, str]:
    """(lines to pass over, delimiter); the stream is at its start again. Excel writes a first line `sep=;`."""
    sample = text.read(_SAMPLE)
    text.seek(0)
    first = sample.partition("\n")[0].rstrip("\r")
    if len(first) == 5 and first.lower().startswith("sep="):
        return 1, first[4]
    return 0, delimiter or find_delimiter(sample)


def _rows(text: TextIO, name: str, problems: Problems, delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of every row that has a value."""
    lines = iter(text)
    for _ in range(skipped):
        next(lines, None)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = skipped + reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(f"{name}:{line}", _quoting(error))
            continue
        if any(row):
            yield line, row


def _quoting(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "a quoted value begins here and never ends"
    if "field limit" in text:
        return f"a value is longer than {_LONGEST_VALUE:,} characters (a quote that is not closed?)"
    return f"its quotes do not fit: {text}"


def _records(
    rows: Iterator[tuple[int, list[str]]], names: list[str], name: str, problems: Problems
) -> Iterator[Record]:
    width = len(names)
    encode = msgspec.json.encode
    for line, row in rows:
        if len(row) != width and len(row := _fitted(row, width)) != width:
            problems.add(f"{name}:{line}", f"has {_values(len(row))}, but the header names {width}")
            continue
        record = dict(zip(names, row, strict=True))
        payload = encode(record).decode()
        if "\\u0000" in payload and any("\0" in cell for cell in row):
            problems.add(f"{name}:{line}", "holds a NUL character (is it UTF-16 without a byte order mark?)")
            continue
        yield line, payload, record


def _fitted(row: list[str], width: int) -> list[str]:
    """Without the empty values that a delimiter at the end of the line makes."""
    while len(row) > width and not row[-1]:
        row = row[:-1]
    return row


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"
