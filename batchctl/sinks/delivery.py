"""Stores the rows of completed items in the commit that records them, or, elsewhere, right before it.

Each item stands for itself: one whose rows do not fit fails, the others are stored. Where a table or file takes nothing
at all, the processor is broken: its items wait until somebody has mended that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from batchctl import hosts
from batchctl.config import ProcessorConfig
from batchctl.config.structs import Into
from batchctl.engines.base import Engine, Tx
from batchctl.engines.sqlite_file import SqliteFile
from batchctl.engines.tables import Busy, Misfit, Target, Unusable, put
from batchctl.journal import WARNING, log
from batchctl.masking import Masker
from batchctl.model import Broken, Completed, Failed, Item, ItemError, Outcome
from batchctl.reserved import is_reserved
from batchctl.running import Ended
from batchctl.sinks.lines import Lines
from batchctl.sinks.rows import Rows
from batchctl.transitions import sinks

MOST_ROWS = 5_000  # of one commit, so that the write lock is free again soon
_PATIENCE = 10.0  # seconds for what another program has locked

Key = tuple[str, str]  # what kind of place, and which


class Source(Protocol):
    """Who knows the processors of items."""

    def config(self, item: Item) -> ProcessorConfig: ...

    @property
    def secrets(self) -> Mapping[str, Any]: ...

    @property
    def masker(self) -> Masker: ...


@dataclass(slots=True)
class Parcel:
    """An item's end, and the rows that go with it; `place` is None where there are none to store."""

    ended: Ended
    place: Key | None = None
    into: Into | None = None
    rows: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class _Place:
    """Where some of a commit's parcels go. `problem` is what keeps all of them from it."""

    parcels: list[Parcel]
    sink: SqliteFile | Lines | None = None
    problem: Busy | Unusable | None = None


class Delivery:
    """Of one worker. `pack`, then within `open` and the worker's transaction `deliver`."""

    def __init__(self, engine: Engine, worker_id: str, source: Source) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._source = source
        self._rows: dict[int, tuple[ProcessorConfig, Rows]] = {}
        self._files: dict[Path, SqliteFile] = {}
        self._known: set[str] = set()
        self._places: dict[Key, _Place] = {}

    # -- before the transaction

    def pack(self, ended: Sequence[Ended]) -> list[Parcel]:
        """The rows that these ends make; one whose result makes none that fit has failed."""
        return [self._pack(one) for one in ended]

    def _pack(self, ended: Ended) -> Parcel:
        if not isinstance(ended.outcome, Completed):
            return Parcel(ended)
        config = self._source.config(ended.item)
        into = config.into
        if into is None:
            return Parcel(ended)
        try:
            rows = self._maker(config, into).of(ended.item, ended.outcome.result, ended.ended_at, ended.item.steps)
        except Misfit as misfit:
            return Parcel(self._failed(ended, str(misfit)))
        return Parcel(ended, self._place_of(into), into, rows) if rows else Parcel(ended)

    def _maker(self, config: ProcessorConfig, into: Into) -> Rows:
        known = self._rows.get(id(config))
        if known is None:  # the config goes along: its number is its own only while it lives
            known = self._rows[id(config)] = (config, Rows(into, config.name, self._source.secrets))
        return known[1]

    def _place_of(self, into: Into) -> Key:
        if into.file is not None:
            return ("lines", str(into.file))
        if into.database is None or self._is_store(into.database):
            return ("store", "")
        return ("database", str(into.database))

    def _is_store(self, path: Path) -> bool:
        store = getattr(self._engine, "path", None)
        try:
            return store is not None and path.samefile(store)
        except OSError:
            return False

    @contextmanager
    def open(self, parcels: Sequence[Parcel]) -> Iterator[None]:
        """Lock what lies outside of the store, in an order that is the same for every worker, before the store is."""
        self._places = {}
        for parcel in parcels:
            if parcel.place is not None:
                self._places.setdefault(parcel.place, _Place([])).parcels.append(parcel)
        with ExitStack() as stack:
            for key in sorted(self._places):
                self._lock(key, self._places[key], stack)
            yield

    def _lock(self, key: Key, place: _Place, stack: ExitStack) -> None:
        kind, name = key
        try:
            if kind == "database":
                place.sink = self._database(Path(name))
                place.sink.begin()
                stack.callback(place.sink.roll_back)
            elif kind == "lines":
                place.sink = Lines(Path(name), _PATIENCE)
                place.sink.lock()
                stack.callback(place.sink.unlock)
                self._register(place.sink)
        except (Busy, Unusable) as problem:
            place.problem = problem

    def _database(self, path: Path) -> SqliteFile:
        known = self._files.get(path)
        if known is not None and known.replaced:
            known.close()
            known = None
        if known is None:
            known = self._files[path] = SqliteFile(path, _PATIENCE)
        return known

    def _register(self, lines: Lines) -> None:
        """Before anything is written to it: what it holds already is not ours to cut."""
        name = self._name(lines)
        if name not in self._known:
            with self._engine.write(shared=True) as tx:
                sinks.register(tx, name, lines.length)
            self._known.add(name)

    def _name(self, lines: Lines) -> str:
        """How the store calls the file: on several hosts there may be one each."""
        return json.dumps(f"{hosts.here().name}:{lines.path}" if self._engine.leased else str(lines.path))

    # -- in the transaction

    def deliver(self, tx: Tx, parcels: Sequence[Parcel]) -> list[Ended]:
        """Store the rows of what is still ours. Returns the ends as they are now: some may have failed by it."""
        mine = [parcel for parcel in parcels if parcel.place is not None]
        if not mine:
            return [parcel.ended for parcel in parcels]
        held = sinks.held(tx, self._worker_id, [parcel.ended.item for parcel in mine])
        changed: dict[int, Ended] = {}
        for key in sorted(self._places):
            place = self._places[key]
            ours = [one for one in place.parcels if (one.ended.item.number, one.ended.item.claim_no) in held]
            self._fill(tx, place, ours, changed)
        return [changed.get(id(parcel), parcel.ended) for parcel in parcels]

    def _fill(self, tx: Tx, place: _Place, parcels: list[Parcel], changed: dict[int, Ended]) -> None:
        try:
            if place.problem is not None:
                raise place.problem
            match place.sink:
                case Lines() as lines:
                    problems = self._append(tx, lines, parcels)
                case SqliteFile() as file:
                    problems = _put_elsewhere(file, parcels)
                case None:
                    problems = self._put_here(tx, parcels)
        except Busy as busy:
            for parcel in parcels:
                changed[id(parcel)] = self._failed(parcel.ended, str(busy), permanent=False)
        except Unusable as unusable:
            for parcel in parcels:
                changed[id(parcel)] = self._broken(parcel.ended, str(unusable))
        else:
            for parcel, why in zip(parcels, problems, strict=True):
                if why is not None:
                    changed[id(parcel)] = self._failed(parcel.ended, why)

    def _put_here(self, tx: Tx, parcels: list[Parcel]) -> list[str | None]:
        for parcel in parcels:
            if parcel.into and parcel.into.table and is_reserved(parcel.into.table):
                raise Unusable(f"table {parcel.into.table}: is a name of the store itself")
        return _by_table(parcels, lambda target, items: put(tx.tables, target, items))

    def _append(self, tx: Tx, lines: Lines, parcels: list[Parcel]) -> list[str | None]:
        name = self._name(lines)
        known, length = sinks.length(tx, name), lines.length
        if length > known:
            log(WARNING, "file_cut", path=str(lines.path), bytes=length - known, kept=f"{lines.path}.cut")
        lines.meet(known)
        lines.begin([row for parcel in parcels for row in parcel.rows])
        problems: list[str | None] = []
        texts: list[bytes] = []
        for parcel in parcels:
            try:
                texts.append(lines.text(parcel.rows))
                problems.append(None)
            except Misfit as misfit:
                problems.append(str(misfit))
        lines.append(b"".join(texts))
        sinks.remember(tx, name, lines.flush())
        return problems

    # -- what becomes of an item

    def _failed(self, ended: Ended, why: str, *, permanent: bool = True) -> Ended:
        error = ItemError("IntoFailed", self._source.masker(f"the result does not fit: {why}"), permanent)
        if not permanent:
            error = ItemError("IntoBusy", self._source.masker(why))
        return _with(ended, Failed(error, log=ended.outcome.log))

    def _broken(self, ended: Ended, why: str) -> Ended:
        return _with(ended, Broken(ItemError("IntoUnusable", self._source.masker(why)), log=ended.outcome.log))

    def close(self) -> None:
        """No more parcels come."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def portions(parcels: list[Parcel]) -> list[list[Parcel]]:
    """The same in their order, in parts of so many rows that a commit stays short; at least one part."""
    parts: list[list[Parcel]] = [[]]
    rows = 0
    for parcel in parcels:
        rows += len(parcel.rows)
        if rows > MOST_ROWS and parts[-1]:
            parts.append([])
            rows = len(parcel.rows)
        parts[-1].append(parcel)
    return parts


def _with(ended: Ended, outcome: Outcome) -> Ended:
    return replace(ended, outcome=outcome)


def _put_elsewhere(file: SqliteFile, parcels: list[Parcel]) -> list[str | None]:
    """On disk when this returns; it comes before the store's commit, and comes again where that does not follow."""
    with file.translated():
        problems = _by_table(parcels, lambda target, items: put(file.tables, target, items))
    file.commit()
    return problems


def _by_table(
    parcels: list[Parcel], store: Callable[[Target, Sequence[Sequence[Any]]], list[str | None]]
) -> list[str | None]:
    """Table by table, in the order of their names."""
    targets: dict[Target, list[int]] = {}
    for number, parcel in enumerate(parcels):
        into = parcel.into
        assert into is not None
        assert into.table is not None
        targets.setdefault(Target(into.table, into.pk, into.indexes), []).append(number)
    problems: list[str | None] = [None] * len(parcels)
    for target in sorted(targets, key=lambda one: one.table):
        numbers = targets[target]
        for number, why in zip(numbers, store(target, [parcels[n].rows for n in numbers]), strict=True):
            problems[number] = why
    return problems
