# ruff: noqa: PTH118, PTH119, PTH120, PTH122 - pathlib would change what the user wrote ("./-x", "a//b")
"""GNU parallel's placeholders in the words of an inline command. Pure.

    {}    the file's path, the order's key      {.}   without its extension
    {/}   its last part                         {//}  its folder
    {/.}  its last part without the extension   {#}   the number of its row, from 1
    {FIELD}  an order's field

A command without any gets `{}` appended. Braces that are none of these stay as they are: `awk '{print $1}'`,
`{"a": 1}`, `${HOME}`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from batchctl.model import Item

_PLACEHOLDER = re.compile(r"(\$?)\{(\.|//?|/\.|#|)\}|(?<!\$)\{([^{}]+)\}")
_FIELD = re.compile(r"[^\W\d][\w -]*")


class MissingField(LookupError):
    """An order has no field that its command names; the message is the field."""


def expand(words: Sequence[str], item: Item) -> list[str]:
    """The argument list for the item. Raises MissingField."""
    path = path_of(item) if item.file is not None else item.key
    fields = item.payload if item.file is None else None
    values = {
        "": lambda: path,
        ".": lambda: os.path.splitext(path)[0],
        "/": lambda: os.path.basename(path),
        "//": lambda: os.path.dirname(path) or ".",
        "/.": lambda: os.path.splitext(os.path.basename(path))[0],
        "#": lambda: str(item.position),
    }
    if not any_placeholder(words, fields):
        return [*words, path]
    return [_PLACEHOLDER.sub(lambda found: _value(found, values, fields), word) for word in words]


def any_placeholder(words: Sequence[str], fields: Collection[str] | None) -> bool:
    """Whether something in the words is replaced. `fields` are an order's field names, None for files."""
    return any(
        found[3] is None or _is_field(found[3], fields) for word in words for found in _PLACEHOLDER.finditer(word)
    )


def missing(words: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    """The fields that the words name and the order does not have, each once."""
    return [name for name in _names(tuple(words)) if name not in record and _is_field(name, record)]


def unusable(words: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    """The fields that the words name and whose value no argument can hold: it has a NUL character."""
    return [name for name in _names(tuple(words)) if name in record and "\0" in text_of(record[name])]


def text_of(value: Any) -> str:
    """A payload's value as an argument: text as it is, null as nothing, everything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def path_of(item: Item) -> str:
    """The file's path as the user gave it where that leads to it from the batch's folder, else absolute.

    It never begins with a dash, so that no command takes it for an option.
    """
    assert item.file is not None
    folder = folder_of(item.definition)
    if folder is None or os.path.normpath(os.path.join(folder, item.key)) != os.path.normpath(item.file.path):
        return item.file.path
    return f"./{item.key}" if item.key.startswith("-") else item.key


@lru_cache(maxsize=64)
def folder_of(definition: str | None) -> str | None:
    """The folder in which an inline command runs."""
    folder = json.loads(definition).get("folder") if definition else None
    return folder if isinstance(folder, str) else None


@lru_cache(maxsize=64)
def _names(words: tuple[str, ...]) -> tuple[str, ...]:
    found = (match[3] for word in words for match in _PLACEHOLDER.finditer(word))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _is_field(name: str, fields: Collection[str] | None) -> bool:
    """What looks like a name is meant as a field; anything else only where a field has just that name."""
    return fields is not None and (name in fields or _FIELD.fullmatch(name) is not None)


def _value(found: re.Match[str], values: Mapping[str, Callable[[], str]], fields: Mapping[str, Any] | None) -> str:
    name = found[3]
    if name is None:
        return found[1] + values[found[2]]()
    if not _is_field(name, fields):
        return found[0]
    assert fields is not None
    if name not in fields:
        raise MissingField(name)
    return text_of(fields[name])
