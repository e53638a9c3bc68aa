"""What a database engine offers the store: connections, transactions and named statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from batchctl.announce import Announcer

if TYPE_CHECKING:
    from batchctl.engines.server import Server
    from batchctl.engines.transfer import Transfer
from batchctl.engines.tables import Tables

Params = Mapping[str, Any] | Sequence[Any]
Row = tuple[Any, ...]


class Tx(Protocol):
    """One transaction (or one read snapshot). Names are those of the blocks in `sql/<engine>/*.sql`.

    announcer   makes the messages about what happens in it; None: nobody is told
    tables      users' tables in the same database
    """

    announcer: Announcer | None
    tables: Tables

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

    def bulk(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        """Insert many rows the fastest way that the engine has. The statement ends in `VALUES (?, …)` and perhaps
        `ON CONFLICT …`. Returns how many were inserted."""

    def reserve_item_ids(self, count: int) -> int:
        """The first of `count` item numbers in a row that nobody else gets."""

    def part(self) -> bool:
        """What came before may be stored for good now, whatever becomes of the rest. True where that was done: then
        other transactions may have come in between, and nothing is locked any more."""


class Presence(Protocol):
    """The mark of a living process; ends with it."""

    def leave(self) -> None:
        """Take the mark away."""


class Upkeep(Protocol):
    """Looking after a store as a whole."""

    def space(self) -> tuple[int | None, int | None]:
        """Bytes that the store takes, and bytes that are free on its disk; None where that can't be told here."""

    def examine(self) -> list[str]:
        """What is damaged in it, in the database's words; [] where nothing is, or where only the server can tell."""

    def about(self) -> str:
        """What kind of database it is, and which version of what."""

    def server(self) -> Server | None:
        """How the server is that it lies on; None for a file."""

    def shrink(self, seconds: float) -> bool:
        """Give free space back to the disk for about so many seconds, in steps that block nobody. True where nothing is
        left to give back."""

    def flush(self) -> None:
        """Bring what was committed to where it belongs, as far as nobody is in the way."""

    def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """A consistent, verified copy at `target`, an empty file; `progress` is told (done, all).
        Raises StoreCorrupt, StoreFull or StoreError."""

    def roles(self, prefix: str, rows: bool | None, tenants: Sequence[str]) -> str:
        """SQL that makes roles with no more rights than each needs: owner, worker, reader. `rows`: readers see the rows
        of their organizations alone (None: as it is now); each of `tenants` gets a reader of its own.
        Raises UsageError where the database knows no roles."""


class Engine(Protocol):
    """A database that holds a queue. One thread at a time, unless a method says otherwise."""

    leased: bool
    """Whether workers of other hosts may share it, which know of each other by heartbeats alone."""

    version_before: int | None
    """The store's version when it was opened, before it was brought forward; None: it was made then."""

    poll: float
    """Seconds between looks at `changed` of a process that has nothing else to do."""

    def write(self, *, shared: bool = False) -> AbstractContextManager[Tx]:
        """A transaction that holds the write lock from its start; commits at the end. An error that comes out of it
        means that nothing of it (since the last `part`) was stored.

        shared   it may run beside other shared ones, for claims, records, heartbeats and loading: what these change
                 is guarded by row, and they wait for each other in the order that docs/architecture.md tells

        Raises StoreInterrupted where the same may work if done again, StoreLocked, StoreFull, StoreReadOnly or
        StoreCorrupt."""

    def announce_with(self, announcer: Announcer | None) -> None:
        """From now on every transaction has this announcer."""

    def read(self) -> AbstractContextManager[Tx]:
        """A consistent snapshot that blocks no writer and takes no write lock."""

    def now(self) -> int:
        """The database's clock in ms UTC."""

    def presence(self, name: str) -> Presence:
        """Mark this process as alive under `name` until it leaves or dies, however it dies."""

    def alive(self, name: str) -> bool:
        """True while a process is marked under `name`."""

    def take(self, name: str, facts: str) -> Presence | None:
        """A lock of this host that one process at a time has, until it leaves or dies; None where another one has it.
        `facts` is what others may read about us. Raises OSError where it cannot be written."""

    def holder(self, name: str) -> str | None:
        """The facts about who has that lock, None where nobody has it."""

    def local(self, name: str) -> bool:
        """True where this host alone can tell whether `name` lives; False for a process of another host."""

    def private_folder(self) -> Path:
        """A folder (0700) on this host for locks, marks and spools of this store's processes."""

    def changed(self) -> int:
        """A number that differs once another connection has changed something that a claim may wait for; it may differ
        without that, too."""

    def reader(self) -> Engine:
        """Another connection to the same database that only reads, for another thread."""

    def upkeep(self) -> Upkeep:
        """Size, space and copies of the whole store."""

    def check_version(self) -> None:
        """Raises StoreTooNew where a newer program has brought the store forward since it was opened."""

    def transfer(self) -> Transfer:
        """All that it holds as plain tables, to be carried over to another store."""

    def close(self) -> None:
        """Close the connection."""
