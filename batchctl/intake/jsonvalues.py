"""JSON values in a row: an array of objects, or objects one after the other over several lines (as jq prints them).

Only a window of the text is in memory.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from batchctl.intake.problems import Problems
from batchctl.intake.records import NotARecord, Record, object_of

_WINDOW = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


class _Broken(ValueError):
    """From here on the text can't be read."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class _Scanner:
    """Steps through the values of a text that is read as it goes. `line` is the line of the next character."""

    def __init__(self, stream: BinaryIO) -> None:
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        self._buffer = ""
        self._at = 0
        self.line = 1
        self._decode = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode  # only to find the end

    def peek(self) -> str:
        """The next character that is not space; "" at the end."""
        while True:
            self._skip(_SPACE.match(self._buffer, self._at).end())  # type: ignore[union-attr]  # it matches ""
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def step(self) -> None:
        """Pass over the character that `peek` showed."""
        self._skip(self._at + 1)

    def value(self) -> str:
        """The text of the value that begins here. Raises _Broken."""
        while True:
            try:
                _, end = self._decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                line = self.line + self._buffer.count("\n", self._at, error.pos)
                raise _Broken(line, f"is not valid JSON: {error.msg}") from None
            except RecursionError:
                raise _Broken(self.line, "is nested too deeply") from None
            text = self._buffer[self._at : end]
            self._skip(end)
            return text

    def release(self) -> None:
        """Leave the underlying stream open for its owner."""
        self._text.detach()

    def _skip(self, to: int) -> None:
        self.line += self._buffer.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        rest = self._buffer[self._at :]
        try:
            read = self._text.read(max(_WINDOW, len(rest)))  # doubling: a long value is not tried too often
        except UnicodeDecodeError:
            raise _Broken(self.line, "is not UTF-8 text, which JSON must be") from None
        self._buffer, self._at = rest + read, 0
        return bool(read)


def read(stream: BinaryIO, name: str, problems: Problems) -> Iterator[Record]:
    """Every object with its line and number. What is no object goes to `problems`; broken syntax ends the reading."""
    scanner = _Scanner(stream)
    try:
        number = 0
        for line, text in _values(scanner):
            number += 1
            place = f"{line} (record {number})"
            try:
                value = object_of(text.encode())
            except NotARecord as error:
                problems.add(f"{name}:{place}", str(error))
                continue
            yield place, _compact(text), value
    except _Broken as error:
        problems.add(f"{name}:{error.line}", f"{error}; the rest of the file was not read")
    finally:
        scanner.release()


def _values(scanner: _Scanner) -> Iterator[tuple[int, str]]:
    if scanner.peek() != "[":
        while scanner.peek():
            yield scanner.line, scanner.value()
        return
    scanner.step()
    if scanner.peek() == "]":
        scanner.step()
    else:
        yield from _elements(scanner)
    if scanner.peek():
        raise _Broken(scanner.line, "there is more text after the end of the array")


def _elements(scanner: _Scanner) -> Iterator[tuple[int, str]]:
    while True:
        scanner.peek()
        yield scanner.line, scanner.value()
        mark = scanner.peek()
        if mark not in ("]", ","):
            reason = "is not valid JSON: ',' or ']' was expected" if mark else "the array has no end"
            raise _Broken(scanner.line, reason)
        scanner.step()
        if mark == "]":
            return


def _compact(text: str) -> str:
    """On one line, without a change to numbers or strings."""
    return msgspec.json.format(text, indent=-1) if "\n" in text else text
