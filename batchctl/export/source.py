"""What an export reads, and values as cells of a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from batchctl.views.results import ResultRow


class Number(str):
    """A JSON number in the very digits that it was written in."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One batch: its JSON, and its items, from the start at every call of `rows`."""

    batch: dict[str, Any]
    rows: Callable[[], Iterator[ResultRow]]


def exact(text: str) -> Any:
    """JSON as Python values, numbers as Number: `12.50` stays `12.50`."""
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=Number)


def cell(value: Any) -> str:
    """A value as the text of a cell: text as it is, nothing for null, JSON for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value)


def _json(value: Any) -> str:
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(str(k))}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_json(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def error_text(item: dict[str, Any]) -> str:
    """ "NotFound: no such customer", nothing where there is no error."""
    error = item["error"]
    return f"{error['type']}: {error['message']}" if error else ""


def line(out: BinaryIO, text: str) -> None:
    """Write one line in UTF-8; what UTF-8 can't hold becomes an escape."""
    out.write(text.encode("utf-8", "backslashreplace") + b"\n")
