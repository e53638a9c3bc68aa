"""One record of a source, and what makes a JSON text a valid one."""

from __future__ import annotations

import json
from typing import Any

import msgspec

# (line, or line and more, for messages; the JSON text of the object; the object).
# A plain tuple: a million of them pass by, and a class would cost more than the decoding.
Record = tuple[int | str, str, dict[str, Any]]

_decode = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.encode


class NotARecord(ValueError):
    """The text is no JSON object that can be enqueued; the message says why and goes on after "file:line: "."""


def quick_object(text: bytes) -> dict[str, Any] | None:
    """The same as `object_of` for the usual flat record, in half the time; None where that has to tell."""
    try:
        value = _decode_object(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # As many colons as members: no name was overwritten. The longer search is for values that hold colons.
    return value if text.count(b":") == len(value) or text.count(b'":') == len(value) else None


def object_of(text: bytes) -> dict[str, Any]:
    """The JSON object that the text is.

    Raises NotARecord: it is not JSON, another kind of value, or a name stands twice in one object.
    """
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotARecord(_reason(error)) from None
    if type(value) is not dict:
        raise NotARecord(f"is {kind_of(value)}, not an object")
    # Was a name overwritten? As many names as members: no. Nested objects, or `"a" : 1`, need a second look, which
    # costs as much as decoding did: a member that was lost has taken its quotes along.
    if text.count(b'":') != len(value) and _quotes_differ(text, value):
        json.loads(text, object_pairs_hook=_unique)
    return value


def _quotes_differ(text: bytes, value: dict[str, Any]) -> bool:
    return text.count(b'"') != _encode(value).count(b'"') or b"\\u0022" in text


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotARecord(f"the name {twice!r} stands twice in one object")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text, which JSON must be"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    text = str(error).removeprefix("JSON is malformed: ")
    return f"is not valid JSON: {text[:1].lower()}{text[1:]}"


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
    return "a list"
