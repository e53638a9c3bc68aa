"""Named statements as PostgreSQL takes them: `:name` and `?` become `$1`, `$2` …"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from batchctl.engines.statements import statements

_TOKEN = re.compile(r"'(?:[^']|'')*'|--[^\n]*|::|:([A-Za-z_]\w*)|\?")
_INSERT = re.compile(r"INSERT INTO (\w+) \(([^)]*)\)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """`sql` with `$n` for parameters; `names` in their order, empty where they come by position.

    copy   `COPY … FROM STDIN` for an insert of rows that meets no others; None where there is no such way
    """

    sql: str
    names: tuple[str, ...]
    copy: str | None
    may_conflict: bool

    def values(self, params: Mapping[str, Any] | Sequence[Any]) -> Sequence[Any]:
        """The parameters in the statement's order."""
        if isinstance(params, Mapping):
            return [params[name] for name in self.names]
        return params


@cache
def compiled() -> dict[str, Statement]:
    """Every statement of `sql/postgres/`, by name."""
    return {name: _compile(text) for name, text in statements("postgres").items()}


def _compile(text: str) -> Statement:
    names: list[str] = []
    count = 0

    def place(match: re.Match[str]) -> str:
        nonlocal count
        word = match[0]
        if word == "?":
            count += 1
            return f"${count}"
        if word == "::" or not word.startswith(":"):
            return word
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    sql = _TOKEN.sub(place, text)
    insert = _INSERT.match(text)
    copy = None
    if insert and "unnest(" in insert[3] and "DO UPDATE" not in insert[3]:
        copy = f"COPY {insert[1]} ({insert[2]}) FROM STDIN"
    return Statement(sql, tuple(names), copy, "ON CONFLICT" in text)
