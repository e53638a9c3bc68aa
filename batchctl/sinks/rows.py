"""A result as the rows that it makes; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchctl.config.structs import Into
from batchctl.engines.tables import Misfit
from batchctl.intake.records import kind_of
from batchctl.model import Item
from batchctl.template import Template, TemplateError, scope

Row = dict[str, Any]


class Rows:
    """Makes rows for one processor. Raises ConfigError where a template of `add` is wrong."""

    def __init__(self, into: Into, name: str, secrets: Mapping[str, Any]) -> None:
        self._into = into
        self._secrets = secrets
        self._add = {
            column: Template(source, where=f"processors.{name}.into.add.{column}")
            for column, source in into.add.items()
        }

    def of(self, item: Item, result: Any, now: int, steps: Mapping[str, Any]) -> list[Any]:
        """One row an element of a list, else one. `now` in ms UTC. Raises Misfit."""
        added = self._added(item, now, steps)
        found = result if isinstance(result, list) else [result]
        if self._into.file is not None and not added and not self._is_csv():
            return found  # a line of JSON can be anything
        rows = [self._row(one, added) for one in found]
        return self._with_keys(item, rows) if self._into.table is not None else rows

    def _is_csv(self) -> bool:
        return self._into.file is not None and self._into.file.suffix == ".csv"

    def _added(self, item: Item, now: int, steps: Mapping[str, Any]) -> Row:
        if not self._add:
            return {}
        names = scope(item, secrets=self._secrets, steps=steps, now=now)
        try:
            return {column: template.render(names) for column, template in self._add.items()}
        except TemplateError as error:
            raise Misfit(error.message) from error

    @staticmethod
    def _row(found: Any, added: Row) -> Row:
        if not isinstance(found, Mapping):
            raise Misfit(f"a row is an object with named fields, not {kind_of(found)}")
        return {**found, **added}

    def _with_keys(self, item: Item, rows: Sequence[Row]) -> list[Row]:
        pk = self._into.pk
        keyed = [{"key": item.key, **row} if "key" in pk else row for row in rows]
        seen: dict[tuple[str, ...], Row] = {}
        for row in keyed:
            for column in pk:
                if row.get(column) is None:
                    raise Misfit(f"it has no {column!r}, which is (a part of) the primary key")
            key = tuple(repr(row[column]) for column in pk)
            if seen.setdefault(key, row) != row:
                values = ", ".join(f"{column} {row[column]!r}" for column in pk)
                raise Misfit(f"two of its rows differ, but have the same primary key: {values}")
        return list(seen.values())
