"""What a store holds as plain tables, for carrying all of it to another one, whatever its engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from batchctl.engines.base import Row

Kind = Literal["integer", "real", "text", "blob"]


@dataclass(frozen=True, slots=True)
class Column:
    """`declared`: its type as its own engine has it. `cast`: it holds more than one kind of value, or a type that only
    its own engine knows, and is read as `kind`."""

    name: str
    kind: Kind
    declared: str
    cast: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`key`: the columns of its primary key."""

    engine: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]


class Transfer(Protocol):
    """All but `held` only within `held`."""

    def held(self) -> AbstractContextManager[None]:
        """From now to the end nobody else writes, and everything that is written here is stored as a whole at the end,
        or not at all."""

    def place(self) -> str:
        """What no two databases have in common, and two ways to the same one have."""

    def tables(self) -> dict[str, Table]:
        """Every table of the store by name, in order; not what the engine needs for itself."""

    def count(self, table: Table) -> int:
        """How many rows it has."""

    def rows(self, table: Table) -> Iterator[Row]:
        """Its rows in any order, never all in memory; values as int, float, str, bytes or None."""

    def make(self, table: Table) -> None:
        """Create a table that no migration made."""

    def clear(self, table: Table) -> None:
        """Delete its rows."""

    def fill(self, table: Table, rows: Iterable[Row]) -> None:
        """Insert rows as `rows` gives them."""

    def settle(self) -> None:
        """All is there: let the database look what that is."""

    def counters(self) -> dict[str, int]:
        """For tables that number their rows: the last number given away."""

    def count_on(self, last: Mapping[str, int]) -> None:
        """The next numbers follow these."""
