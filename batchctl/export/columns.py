"""A batch as a table: the input's columns first and unchanged, then what became of each item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from batchctl.export.source import Source, error_text, exact
from batchctl.views.results import ResultRow


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns the table has, from one look at all rows.

    inputs     names of the payload's fields, in the order in which they first appear
    results    names of the results' fields, where results are objects
    plain      whether some result is no object: then there is a column `_result` as well
    """

    inputs: list[str]
    results: list[str]
    plain: bool

    def titles(self) -> list[str]:
        plain = ["_result"] if self.plain else []
        return [*self.inputs, "_key", "_state", *plain, *(f"_result.{name}" for name in self.results), "_error"]

    def values(self, row: ResultRow) -> list[Any]:
        """The row's values under the titles; numbers as `Number`."""
        payload, result = exact(row.payload), None if row.result is None else exact(row.result)
        fields = result if isinstance(result, dict) else {}
        plain = [None if isinstance(result, dict) else result] if self.plain else []
        return [
            *(payload.get(name) for name in self.inputs),
            row.item["key"],
            row.item["state"],
            *plain,
            *(fields.get(name) for name in self.results),
            error_text(row.item),
        ]


def columns_of(sources: list[Source]) -> Columns:
    """Look through all rows once."""
    inputs: dict[str, None] = {}
    results: dict[str, None] = {}
    plain = False
    for row in _all(sources):
        inputs.update(dict.fromkeys(row.item["payload"]))
        result = row.item["result"]
        if isinstance(result, dict):
            results.update(dict.fromkeys(result))
        elif result is not None:
            plain = True
    return Columns(list(inputs), list(results), plain or not results)


def _all(sources: list[Source]) -> Iterator[ResultRow]:
    for source in sources:
        yield from source.rows()
