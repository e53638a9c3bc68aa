"""The store: every transition of the queue behind one name, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchctl.announce import Announcer
from batchctl.engines.again import snapshot
from batchctl.engines.base import Engine
from batchctl.errors import StoreMissing, UsageError
from batchctl.model import NewBatch, Priority
from batchctl.transitions import bulk, control
from batchctl.transitions.claiming import Claimer
from batchctl.transitions.control import EVERYTHING, UNSET, _Unset
from batchctl.transitions.loading import CHUNK, Loaded, Loading
from batchctl.transitions.quotas import refuse_over_quota
from batchctl.transitions.scope import Scope
from batchctl.transitions.twins import Duplicate

__all__ = ["CHUNK", "EVERYTHING", "UNSET", "Claimer", "Duplicate", "Loaded", "Loading", "Scope", "Store"]


def open_engine(url: str, *, create: bool, upgrade: bool = False) -> Engine:
    """The engine for a path or URL. Raises StoreMissing where there is no store and `create` is False.

    upgrade   bring a store on a server forward, too; a file is brought forward whenever it is opened
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("postgres", "postgresql"):
        return _open_postgres(url, create=create, upgrade=upgrade)
    if separator and scheme != "sqlite":
        raise UsageError(f"{scheme}: no such kind of store", hint="name a file or a postgresql:// URL as the store")
    from batchctl.engines.sqlite import SqliteEngine

    path = Path(rest if separator else url).expanduser()
    if not create and not path.exists():
        raise StoreMissing(f"{path}: there is no store yet", hint="enqueue something, or run `batchctl init`")
    return SqliteEngine(path.absolute(), create=create)


def _open_postgres(url: str, *, create: bool, upgrade: bool) -> Engine:
    try:
        from batchctl.engines.postgres import PostgresEngine
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise UsageError(
            "a store on PostgreSQL needs psycopg, which is not installed",
            hint="pip install 'batchctl[postgres]'",
        ) from error
    return PostgresEngine(url, create=create, upgrade=upgrade)


@dataclass(frozen=True, slots=True)
class Store:
    """One open store. Not for two threads at once; `engine.reader()` gives another thread its own connection."""

    engine: Engine

    @staticmethod
    def open(url: str, *, create: bool, announcer: Announcer | None = None) -> Store:
        """`announcer` makes the messages about ends of batches. Raises StoreMissing, UsageError or a StoreError."""
        engine = open_engine(url, create=create)
        engine.announce_with(announcer)
        return Store(engine)

    def close(self) -> None:
        self.engine.close()

    def load(
        self,
        new: NewBatch,
        *,
        split: int | None = None,
        on_duplicate: str = "refuse",
        skip_known: bool = False,
        contents: Callable[[str], bytes] | None = None,
    ) -> Loading:
        """A batch on its way in; see `Loading`. `contents` reads the file of those facts (JSON text), to be stored."""
        return Loading(self.engine, new, split, on_duplicate, skip_known, contents)

    def refuse_over_quota(self, new: NewBatch, batches: int) -> None:
        """Raises LimitReached where `enqueue` would refuse to make so many batches now."""
        snapshot(self.engine, lambda tx: refuse_over_quota(tx, new, batches, self.engine.now()))

    def pause(self, batch_nos: Iterable[int], until: int | None, actor: str | None) -> int:
        return control.pause(self.engine, batch_nos, until, actor)

    def resume(self, batch_nos: Iterable[int], actor: str | None) -> int:
        return control.resume(self.engine, batch_nos, actor)

    def pause_processor(self, name: str, until: int | None, actor: str | None) -> None:
        control.pause_processor(self.engine, name, until, actor)

    def resume_processor(self, name: str, actor: str | None) -> bool:
        return control.resume_processor(self.engine, name, actor)

    def alter(
        self,
        batch_no: int,
        actor: str | None,
        *,
        priority: Priority | None = None,
        name: str | None = None,
        not_before: int | _Unset | None = UNSET,
    ) -> None:
        control.alter(self.engine, batch_no, actor, priority=priority, name=name, not_before=not_before)

    def cancel_batch(self, batch_no: int, actor: str | None) -> int:
        return bulk.cancel_batch(self.engine, batch_no, actor)

    def cancel_items(self, item_ids: Collection[int], actor: str | None) -> int:
        return bulk.cancel_items(self.engine, item_ids, actor)

    def retry(
        self,
        batch_no: int,
        actor: str | None,
        *,
        states: Collection[str] = ("failed",),
        item_ids: Collection[int] | None = None,
        error: str | None = None,
        lane: str | None = None,
        payloads: Mapping[str, str] | None = None,
        files: Mapping[int, str] | None = None,
        from_start: bool = False,
    ) -> int:
        selection = bulk.Selection(
            failed="failed" in states,
            cancelled="cancelled" in states,
            ids=None if item_ids is None else tuple(item_ids),
            error=error,
            lane=lane,
        )
        return bulk.retry(
            self.engine, batch_no, actor, selection, payloads=payloads, files=files, from_start=from_start
        )
