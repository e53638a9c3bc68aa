"""The key of an order: from the fields that were named, from the usual ones, or its row number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchctl.intake.records import kind_of

DEFAULT_FIELDS = ("key", "id", "uuid", "order_id")
LONGEST_KEY = 4096
SEPARATOR = "|"
ESCAPE = "\\"


class NoKey(ValueError):
    """The record has no usable key; the message says why."""


def default_fields(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The first usual key field that the record has, as a tuple; () where it has none."""
    return next(((name,) for name in DEFAULT_FIELDS if name in record), ())


def key_of(record: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The key that the fields give. Several are joined so that different values never give the same key.

    Raises NoKey: a field is missing, empty, no text or number, or the key is too long.
    """
    if len(fields) == 1:
        key = _part(record, fields[0])
    else:
        key = SEPARATOR.join(_escaped(_part(record, field)) for field in fields)
    return checked(key)


def plain(text: str) -> bool:
    """Whether the text is a key without a second look; the usual case, so it must be quick to tell."""
    return text.isprintable() and not text.isspace() and 0 < len(text) <= LONGEST_KEY


def checked(key: str) -> str:
    """The key, where the store can hold it. Raises NoKey."""
    if len(key) > LONGEST_KEY:
        raise NoKey(f"its key is longer than {LONGEST_KEY:,} characters ({key[:40]}…)")
    if not key.isprintable():  # rare, so the exact look comes second
        if "\0" in key:
            raise NoKey("its key holds a NUL character")
        if any("\ud800" <= char <= "\udfff" for char in key):
            raise NoKey("its key is not valid Unicode text")
    return key


def _part(record: Mapping[str, Any], field: str) -> str:
    try:
        value = record[field]
    except KeyError:
        raise NoKey(f"has no {field!r} for its key") from None
    if type(value) is str:
        if not value or value.isspace():
            raise NoKey(f"{field!r}, its key, is empty")
        return value
    if type(value) in (int, float):
        return str(value)
    raise NoKey(f"{field!r}, its key, is {kind_of(value)}, not text or a number")


def _escaped(part: str) -> str:
    return part.replace(ESCAPE, ESCAPE * 2).replace(SEPARATOR, ESCAPE + SEPARATOR)
