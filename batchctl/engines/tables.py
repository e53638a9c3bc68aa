"""Rows of results into a user's table: made from the data, grows with it; what does not fit harms no neighbour.

An engine offers `Tables`; `put` is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

# `null`: no value has been seen; `mixed`: values of several kinds
Kind = Literal["integer", "number", "boolean", "text", "json", "null", "mixed"]
Record = Mapping[str, Any]


class Misfit(Exception):
    """These rows do not fit into the table. The message is for people."""


class Unusable(Exception):
    """The table (or its file) takes no rows at all, whatever they hold."""


class Busy(Exception):
    """Somebody else has it locked: the same may work later."""


class Tables(Protocol):
    """Tables of one database, within a transaction that somebody else began."""

    def fold(self, name: str) -> str:
        """What two names have in common that this database takes for the same column."""

    def columns(self, table: str) -> dict[str, str] | None:
        """Its columns and their types; None where there is no such table. Raises Unusable where it is no table."""

    def keyed(self, table: str, pk: Sequence[str]) -> bool:
        """Whether these columns are its primary key, or unique."""

    def reshape(self, table: str) -> None:
        """To be called before the table's shape changes: others who want to change it wait until we are done."""

    def create(self, table: str, columns: Mapping[str, Kind], pk: Sequence[str]) -> None: ...

    def add_columns(self, table: str, columns: Mapping[str, Kind]) -> None: ...

    def add_index(self, table: str, columns: Sequence[str]) -> None:
        """Unless there is one of its name."""

    def upsert(
        self,
        table: str,
        types: Mapping[str, str],
        pk: Sequence[str],
        names: Sequence[str],
        rows: Iterable[Sequence[Any]],
    ) -> None:
        """`types` are those of `columns`. A row with a known key changes the columns that it has."""

    def attempt(self) -> AbstractContextManager[None]:
        """A block that is undone where it fails. What its rows are to blame for comes out as a Misfit."""


@dataclass(frozen=True, slots=True)
class Target:
    """A table, its primary key, the indexes that it should have."""

    table: str
    pk: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()


def put(tables: Tables, target: Target, items: Sequence[Sequence[Record]]) -> list[str | None]:
    """Upsert the rows of several items. For each item None, or why its rows do not fit; then none of them is stored.

    Raises Unusable where no row could be stored at all."""
    if not any(items):
        return [None] * len(items)
    return _Put(tables, target, items).run()


@dataclass(slots=True)
class _Put:
    """`known` maps a column's folded name to how the table calls it."""

    tables: Tables
    target: Target
    items: Sequence[Sequence[Record]]
    types: dict[str, str] | None = None
    known: dict[str, str] = field(default_factory=dict)
    problems: list[str | None] = field(default_factory=list)

    def run(self) -> list[str | None]:
        self.problems = [None] * len(self.items)
        self._look()
        self._shape()
        if self.types is not None:
            if not self.tables.keyed(self.target.table, self._pk()):
                columns = ", ".join(self.target.pk)
                raise Unusable(f"table {self.target.table}: ({columns}) is neither its primary key nor unique")
            self._index()
            self._store([n for n, rows in enumerate(self.items) if rows and self.problems[n] is None])
        return self.problems

    def _look(self) -> None:
        self.types = self.tables.columns(self.target.table)
        self.known = {self.tables.fold(name): name for name in self.types or ()}

    def _pk(self) -> list[str]:
        return [self.known.get(self.tables.fold(name), name) for name in self.target.pk]

    # -- columns

    def _shape(self) -> None:
        """Make the table, and the columns that it lacks, item by item: one with impossible columns fails alone."""
        kinds: dict[str, Kind] | None = None
        locked = False
        for number, rows in enumerate(self.items):
            try:
                names = self._names(rows)
                if not any(name not in self.known for name in names):
                    continue
                if not locked:
                    self.tables.reshape(self.target.table)
                    locked = True
                    self._look()  # somebody else may have done it
                if kinds is None:
                    kinds = _kinds(self.tables, (row for item in self.items for row in item))
                self._grow({name: (label, kinds[name]) for name, label in names.items() if name not in self.known})
            except Misfit as misfit:
                self.problems[number] = str(misfit)

    def _names(self, rows: Sequence[Record]) -> dict[str, str]:
        """Every column of these rows, folded, and how it is written."""
        found: dict[str, str] = {}
        for row in rows:
            folded: dict[str, str] = {}
            for name in row:
                other = folded.setdefault(self.tables.fold(name), name)
                if other != name:
                    raise Misfit(f"the fields {other!r} and {name!r} would be the same column")
            found = folded | found
        return found

    def _grow(self, wanted: dict[str, tuple[str, Kind]]) -> None:
        if not wanted:
            return
        columns: dict[str, Kind] = dict(wanted.values())
        with self.tables.attempt():
            if self.types is None:
                pk = [next(label for label in columns if self._same(label, name)) for name in self.target.pk]
                self.tables.create(self.target.table, columns, pk)
            else:
                self.tables.add_columns(self.target.table, columns)
        self._look()

    def _same(self, one: str, other: str) -> bool:
        return self.tables.fold(one) == self.tables.fold(other)

    def _index(self) -> None:
        for index in self.target.indexes:
            columns = [self.known.get(self.tables.fold(name)) for name in index]
            if all(columns):
                try:
                    with self.tables.attempt():
                        self.tables.add_index(self.target.table, [name for name in columns if name])
                except Misfit as misfit:
                    raise Unusable(f"table {self.target.table}: no index can be made: {misfit}") from misfit

    # -- rows

    def _store(self, numbers: list[int]) -> None:
        """All of them at once; where that fails, each half by itself, down to the one that does not fit."""
        if not numbers:
            return
        try:
            with self.tables.attempt():
                self._upsert(numbers)
        except Misfit as misfit:
            if len(numbers) == 1:
                self.problems[numbers[0]] = str(misfit)
                return
            middle = len(numbers) // 2
            self._store(numbers[:middle])
            self._store(numbers[middle:])

    def _upsert(self, numbers: list[int]) -> None:
        """Rows with the same columns go together; in an order that is the same for everybody who stores them."""
        groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for number in numbers:
            for row in self.items[number]:
                names = tuple(self.known[self.tables.fold(name)] for name in row)
                groups.setdefault(names, []).append(tuple(row.values()))
        pk = self._pk()
        for names in sorted(groups):
            places = [names.index(name) for name in pk]
            self.tables.upsert(self.target.table, self.types or {}, pk, names, _ordered(groups[names], places))


def _ordered(rows: list[tuple[Any, ...]], places: Sequence[int]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: [str(row[at]) for at in places])


def _kinds(tables: Tables, rows: Iterable[Record]) -> dict[str, Kind]:
    """What each column should hold, going by all rows at hand."""
    found: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            folded = tables.fold(name)
            before, now = found.get(folded), _kind(value)
            found[folded] = now if before is None else _both(before, now, value)
    return found


def _kind(value: Any) -> Kind:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "text"
        case dict() | list():
            return "json"
        case _:
            return "null"


def _both(before: Kind, now: Kind, value: Any) -> Kind:
    """One kind for both; a null says nothing."""
    if value is None or before == now:
        return before
    if {before, now} == {"integer", "number"}:
        return "number"
    return now if before == "null" else "mixed"
