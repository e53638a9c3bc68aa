"""What a database engine offers the store: connections, transactions and named statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Params = Mapping[str, Any] | Sequence[Any]
Row = tuple[Any, ...]


class Tx(Protocol):
    """One transaction (or one read snapshot). Names are those of the blocks in `sql/<engine>/*.sql`."""

    def all(self, name: str, params: Params = ()) -> list[Row]:
        """Run the statement, return every row."""

    def one(self, name: str, params: Params = ()) -> Row | None:
        """Run the statement, return the first row or None."""

    def value(self, name: str, params: Params = ()) -> Any:
        """Run the statement, return the first column of the first row or None."""

    def dicts(self, name: str, params: Params = ()) -> list[dict[str, Any]]:
        """Run the statement, return rows as dictionaries by column name."""

    def stream(self, name: str, params: Params = ()) -> Iterable[Row]:
        """Run the statement, yield rows without holding them all in memory. Only within `read`."""

    def run(self, name: str, params: Params = ()) -> int:
        """Run the statement, return how many rows it changed."""

    def many(self, name: str, rows: Iterable[Params]) -> int:
        """Run the statement once a row, return how many rows were changed in all."""


class Engine(Protocol):
    """A database that holds a queue. One thread at a time, unless a method says otherwise."""

    def write(self) -> AbstractContextManager[Tx]:
        """A transaction that holds the write lock from its start; commits at the end, rolls back on an error.
        Raises StoreLocked, StoreFull, StoreReadOnly or StoreCorrupt."""

    def read(self) -> AbstractContextManager[Tx]:
        """A consistent snapshot that blocks no writer and takes no write lock."""

    def now(self) -> int:
        """The database's clock in ms UTC."""

    def reader(self) -> Engine:
        """Another connection to the same database that only reads, for another thread."""

    def close(self) -> None:
        """Close the connection."""
