"""Carries a whole store over to another one, of the same engine or another, and compares both at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from batchctl import recovery
from batchctl.engines.again import snapshot
from batchctl.engines.base import Engine, Row, Tx
from batchctl.engines.transfer import Table, Transfer
from batchctl.errors import StoreCorrupt, StoreError, UsageError

# What a store that nobody has used has rows in.
BORN_WITH_ROWS = frozenset({"control"})
_MASK = (1 << 128) - 1
_NUL = "␀"  # a text in PostgreSQL can't hold the character itself
_TOLD = 5_000  # rows between two words about how far it is

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Moved:
    """How many rows of each table were carried over; `replaced`: values in which a NUL character became a ␀."""

    tables: dict[str, int] = field(default_factory=dict)
    replaced: int = 0
    unfinished: int = 0


@dataclass(slots=True)
class _Sum:
    """Rows that went by, in whatever order."""

    count: int = 0
    total: int = 0

    def add(self, row: Row) -> None:
        self.count += 1
        digest = blake2b(msgspec.msgpack.encode(row), digest_size=16).digest()
        self.total = (self.total + int.from_bytes(digest, "big")) & _MASK


def get_ready(source: Engine, name: str, *, max_crashes: int = 3) -> None:
    """Put back what dead workers held. Raises UsageError where work runs: known before a target is made."""
    recovery.recover(source, own=None, max_crashes=max_crashes)
    _refuse_busy(source, name)


def copy(source: Engine, target: Engine, names: tuple[str, str], progress: Progress) -> Moved:
    """Everything in `source` goes into `target`, an empty store, in one transaction there; `names`: as they are shown.

    Nobody else can write to either meanwhile. Raises UsageError where work runs in `source` or `target` is not empty,
    StoreCorrupt where both differ in the end; then, as after any other error, `target` is as empty as before.
    """
    out, into = source.transfer(), target.transfer()
    with out.held():
        _refuse_same(out, target, names[1])
        _refuse_busy(source, names[0])
        with into.held():
            moved = _carry(out, into, names, progress)
        with source.read() as tx:
            moved.unfinished = int(tx.value("unfinished_items"))
    return moved


def _refuse_same(out: Transfer, target: Engine, name: str) -> None:
    with target.read():
        if out.place() == target.transfer().place():
            raise UsageError(
                f"{name}: FROM and TO lie in the same database", hint="name another file or database to copy to"
            )


def _refuse_busy(engine: Engine, name: str) -> None:
    """Raises UsageError where somebody is at work in the store."""
    doing = snapshot(engine, _doing)
    if doing:
        raise UsageError(
            f"{name}: work is going on, so it can't be copied",
            details=doing,
            hint="stop timers, cron lines and `run --forever` first; `batchctl workers` shows who is left",
        )


def _doing(tx: Tx) -> list[str]:
    found = [f"worker {row['id']} lives on {row['host']} (pid {row['pid']})" for row in tx.dicts("all_workers")]
    words = ("items in processing", "batches that are loaded or deleted", "bulk acts", "messages on their way")
    counts = tx.one("activity") or ()
    return found + [f"{what}: {count:,}" for count, what in zip(counts, words, strict=True) if count]


def _carry(out: Transfer, into: Transfer, names: tuple[str, str], progress: Progress) -> Moved:
    theirs = out.tables()
    _prepare(into, theirs, names)
    tell = _Teller(progress, 2 * sum(out.count(table) for table in theirs.values()))
    moved, sums = Moved(), {name: _Sum() for name in theirs}
    keeps_nul = not into.place().startswith("postgresql")
    for name, table in theirs.items():
        rows = out.rows(table) if keeps_nul else _without_nul(out.rows(table), moved)
        into.fill(table, _seen(rows, sums[name], tell))
        moved.tables[name] = sums[name].count
    into.count_on(out.counters())
    into.settle()
    for name, table in theirs.items():
        found = _Sum()
        for _ in _seen(into.rows(table), found, tell):
            pass
        _compare(name, sums[name], found)
    return moved


def _prepare(into: Transfer, theirs: dict[str, Table], names: tuple[str, str]) -> None:
    """The target has every table and no rows. Raises UsageError where it has some, StoreError where both differ."""
    ours = into.tables()
    if full := [name for name, table in ours.items() if name not in BORN_WITH_ROWS and into.count(table)]:
        some = ", ".join(full[:5]) + (", …" if len(full) > 5 else "")
        raise UsageError(
            f"{names[1]}: is not empty (there are rows in {some})", hint="name a new file or an empty database"
        )
    for name, table in theirs.items():
        if name not in ours:
            into.make(table)
        elif {one.name for one in table.columns} != {one.name for one in ours[name].columns}:
            hint = "bring both to the same version with `batchctl store upgrade`, then try again"
            raise StoreError(f"{names[0]} and {names[1]} have different columns in {name}", hint=hint)
        elif name in BORN_WITH_ROWS:
            into.clear(table)


class _Teller:
    """Counts rows and tells now and then how far it is."""

    def __init__(self, progress: Progress, everything: int) -> None:
        self._progress = progress
        self._everything = everything
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        if self._done % _TOLD == 0:
            self._progress(self._done, self._everything)


def _seen(rows: Iterable[Row], total: _Sum, tell: _Teller) -> Iterator[Row]:
    for row in rows:
        total.add(row)
        tell()
        yield row


def _without_nul(rows: Iterable[Row], moved: Moved) -> Iterator[Row]:
    """PostgreSQL has no text with a NUL character."""
    for row in rows:
        if any(isinstance(value, str) and "\0" in value for value in row):
            moved.replaced += sum(isinstance(value, str) and "\0" in value for value in row)
            yield tuple(value.replace("\0", _NUL) if isinstance(value, str) else value for value in row)
        else:
            yield row


def _compare(name: str, sent: _Sum, found: _Sum) -> None:
    if found.count != sent.count:
        raise StoreCorrupt(f"the copy of {name} has {found.count:,} rows instead of {sent.count:,}", hint=_NOTHING)
    if found.total != sent.total:
        raise StoreCorrupt(f"the copy of {name} differs from the original", hint=_NOTHING)


_NOTHING = "nothing was stored; please report it: this must not happen"
