"""JSON Lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from batchctl.intake.problems import Problems
from batchctl.intake.records import NotARecord, Record, object_of, quick_object
from batchctl.intake.text import bom_length


def read(stream: BinaryIO, name: str, problems: Problems) -> Iterator[Record]:
    """Every object of the stream with its line; blank lines are passed over, bad lines go to `problems`.

    The text of a line is kept as it is (numbers of any length, the order of names), only its ends are trimmed.
    """
    for number, line in enumerate(stream, 1):  # a binary stream splits at \n alone, as the format wants
        if (found := quick_object(line)) is not None:
            yield number, line.decode().strip(), found
            continue
        text = line.strip()
        if number == 1:
            text = text[bom_length(text) :]
        if not text:
            continue
        try:
            value = object_of(text)
        except NotARecord as error:
            problems.add(f"{name}:{number}", str(error))
            continue
        yield number, text.decode(), value
