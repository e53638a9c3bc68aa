"""enqueue: items go in by chunks under a batch that no command sees; one commit makes it exist."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from batchctl.engines.again import again as tries_again
from batchctl.engines.again import snapshot
from batchctl.engines.base import Engine, Presence, Tx
from batchctl.model import Incoming, NewBatch
from batchctl.places import common
from batchctl.transitions import contents
from batchctl.transitions.common import event, open_group
from batchctl.transitions.deleting import delete_batch
from batchctl.transitions.existing import Request, existing
from batchctl.transitions.known import Memory
from batchctl.transitions.limits import failure_limit
from batchctl.transitions.load_lanes import LoadLanes
from batchctl.transitions.load_parts import Part, new_group, new_part, refuse_lost, taken_for_dead
from batchctl.transitions.quotas import refuse_over_quota
from batchctl.transitions.twins import Duplicate, Twins

CHUNK = 5_000
_PATIENCE = 2.0  # seconds for loads that others have left behind
_PARTS = 500  # of a --split in one commit: a batch costs more than an item


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `finish` made: nothing where all was known, the older batches where it existed."""

    batch_nos: list[int]
    existing: bool
    skipped_items: int


@dataclass(slots=True)
class Loading:
    """A batch (with `split`, several) on its way in. End it with `finish` or `abort`; after a crash, recovery does."""

    engine: Engine
    new: NewBatch
    split: int | None = None
    on_duplicate: str = "refuse"
    skip_known: bool = False
    contents: Callable[[str], bytes] | None = None
    skipped: int = 0
    _parts: list[Part] = field(default_factory=list)
    _explicit: bool = True
    _group: str | None = None
    _presence: Presence | None = None
    _loader: str = ""
    _since: int = 0
    _lanes: LoadLanes = field(init=False)
    _twins: Twins = field(init=False)

    def __post_init__(self) -> None:
        self._lanes = LoadLanes(self.new)
        self._twins = Twins(self._lanes, last_wins=self.on_duplicate == "last")

    @property
    def _memory(self) -> Memory:
        return Memory(self.new.processor, self.new.organization or "", self._loader)

    def add(self, chunk: Sequence[Incoming]) -> list[Duplicate]:
        """Store at most CHUNK items, in one commit but for tiny parts. Returns those whose key was there before, where
        that is refused."""
        if self._presence is None:
            self._refuse_early()
            self._loader = "l" + secrets.token_hex(8)
            self._presence = self.engine.presence(self._loader)
            if self.skip_known:
                self._memory.begin(self.engine)
                self._since = self._newest_event()
        rest, found = self._fresh(chunk), list[Duplicate]()
        self._lanes.find(self.engine, rest)
        while rest:
            rest, twins = self._store(rest)
            found += twins
        order = {item.where: n for n, item in enumerate(chunk)} if found else {}
        return sorted(found, key=lambda twin: order[twin.where])

    @tries_again
    def _refuse_early(self) -> None:
        """Who may bring in nothing more for now need not wait for a long load to hear it. It may make no batch, though,
        where an idempotency key or --skip-known says so."""
        if self.new.quotas and not self.new.idempotency_key and not self.skip_known:
            with self.engine.read() as tx:
                refuse_over_quota(tx, self.new, 1, self.engine.now())

    @tries_again
    def _store(self, rest: list[Incoming]) -> tuple[list[Incoming], list[Duplicate]]:
        """One commit. Returns what is left, and whose key was there before."""
        found: list[Duplicate] = []
        with self._unless_it_fails(), self.engine.write(shared=True) as tx:
            for part in self._parts[-1:]:
                refuse_lost(tx, part, self._loader)
            for _ in range(_PARTS):
                part = self._part(tx, rest[0])
                room = self.split - part.total if self.split else len(rest)
                head, rest = rest[:room], rest[room:]
                found += self._insert(tx, part, head)
                if not rest:
                    break
        if self.on_duplicate != "refuse":
            self.skipped += len(found)
            found = []
        return rest, found

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """What we know of the load is as before where the transaction within is rolled back."""
        parts, total = len(self._parts), self._parts[-1].total if self._parts else 0
        before = self._explicit, self._group
        try:
            yield
        except BaseException:
            del self._parts[parts:]
            for part in self._parts[-1:]:
                part.total = total
            self._explicit, self._group = before
            raise

    @tries_again
    def _fresh(self, chunk: Sequence[Incoming]) -> list[Incoming]:
        if not self.skip_known:
            return list(chunk)
        with self.engine.read() as tx:  # what others bring until the end is left out then
            fresh = self._memory.unknown(tx, chunk)
        self.skipped += len(chunk) - len(fresh)
        return fresh

    @tries_again
    def _newest_event(self) -> int:
        with self.engine.read() as tx:
            return int(tx.value("newest_event") or 0)

    def _part(self, tx: Tx, first: Incoming) -> Part:
        """The batch that takes the next items."""
        if self._parts and not (self.split and self._parts[-1].total >= self.split):
            return self._parts[-1]
        if self.split and self._group is None:
            self._group = new_group(self.new)
        now, explicit = self.engine.now(), first.explicit_key
        self._parts.append(new_part(tx, self.new, group=self._group, loader=self._loader, explicit=explicit, now=now))
        return self._parts[-1]

    def _insert(self, tx: Tx, part: Part, items: list[Incoming]) -> list[Duplicate]:
        """Returns those whose key was there before, whatever becomes of them."""
        organization = self.new.organization or ""
        duplicates: list[Duplicate] = []
        if self.split:
            items, duplicates = self._twins.in_parts(tx, self._parts, items)
        if not items:
            return duplicates
        first = tx.reserve_item_ids(len(items))
        rows = [(number, part.no, item.position, item.key, organization) for number, item in enumerate(items, first)]
        laned = items[0].lane is not None
        inserted = self._lanes.insert(tx, part.no, items, rows) if laned else tx.bulk("insert_items", rows)
        numbers: Sequence[int] = range(first, first + len(items))
        stored = items
        if inserted != len(items):
            items, own, twins = self._twins.in_batch(tx, part.no, items, first)
            duplicates += twins
            stored = [item for number, item in zip(numbers, items, strict=True) if number in own]
            numbers = [number for number in numbers if number in own]
        tx.bulk(
            "insert_item_data",
            [(number, item.payload, item.file) for number, item in zip(numbers, stored, strict=True)],
        )
        part.total += inserted
        for folder in {item.folder for item in items if item.folder is not None}:
            part.folder = common(part.folder, folder)
        self._explicit = self._explicit and items[0].explicit_key
        self._memory.note(tx, zip(numbers, stored, strict=True))
        return duplicates

    def finish(self, content_hash: str, *, again: bool) -> Loaded:
        """Make the batches exist. `content_hash` covers processor, options and items.
        Raises DuplicateBatch where the idempotency key was used for something else, or (without `again`) where an
        unfinished batch has the same content; nothing of the load remains then."""
        repeatable = again or self.skip_known or not self._parts
        request = Request(self.new, self.split, content_hash, repeatable)
        try:
            older = self._known_before(request) or self._settle(request)
        except BaseException:
            self.abort()
            raise
        parts = [part.no for part in self._parts if part.total]
        if older or not parts:
            self.abort()
            return Loaded(older, bool(older), 0 if older else self.skipped)
        self._leave()
        return Loaded(parts, False, self.skipped)

    def _known_before(self, request: Request) -> list[int]:
        """Store the contents of files where that is asked for, unless the same batch exists already."""
        if self.contents is None:
            return []
        older = self._look_for_existing(request)
        for part in self._parts if not older else ():
            contents.store(self.engine, part.no, self.contents, partial(refuse_lost, part=part, loader=self._loader))
        return older

    @tries_again
    def _look_for_existing(self, request: Request) -> list[int]:
        with self.engine.read() as tx:
            return existing(tx, request)

    def _settle(self, request: Request) -> list[int]:
        """One commit: publish the load, or find the batches that exist already."""
        while (older := self._try_to_settle(request)) is None:
            self._drop_overtaken()
        return older

    @tries_again
    def _try_to_settle(self, request: Request) -> list[int] | None:
        """None where other enqueues have brought something that --skip-known must know of first."""
        with self.engine.write() as tx:
            if self.skip_known and self._memory.changed(tx, self._since):
                return None
            older = existing(tx, request)
            if not older:
                parts = sum(part.total > 0 for part in self._parts)
                if parts:
                    refuse_over_quota(tx, self.new, parts, self.engine.now())
                self._publish(tx, request)
            return older

    def _drop_overtaken(self) -> None:
        """Another enqueue for this processor has ended while we loaded: leave out what it brought."""
        self._since = self._newest_event()
        for part in self._parts:
            ids = self._overtaken(part)
            for start in range(0, len(ids), CHUNK):
                self._drop(ids[start : start + CHUNK])
            part.total -= len(ids)
            self.skipped += len(ids)

    @tries_again
    def _overtaken(self, part: Part) -> list[tuple[int]]:
        with self.engine.read() as tx:
            return [(number,) for number in self._memory.overtaken(tx, part.no)]

    @tries_again
    def _drop(self, ids: list[tuple[int]]) -> None:
        with self.engine.write() as tx:
            tx.many("delete_item_content", ids)
            tx.many("delete_item_data", ids)
            tx.many("delete_item", ids)

    def _publish(self, tx: Tx, request: Request) -> None:
        now = self.engine.now()
        for number, part in enumerate(part for part in self._parts if part.total):
            key = self.new.idempotency_key if number == 0 else None
            most = failure_limit(self.new.max_failures, part.total)
            row: dict[str, object] = {"no": part.no, "total": part.total, "explicit_keys": int(self._explicit)}
            row |= {"failure_limit": most, "folder": part.folder}
            asked = request.hash if key else None
            hashes = {"content_hash": request.content_hash, "request_hash": asked, "idempotency_key": key}
            if not tx.run("publish_batch", row | hashes | {"loader": self._loader}):
                raise taken_for_dead()
            open_group(tx, part.no, now)
            event(
                tx,
                "enqueued",
                now,
                organization=self.new.organization or "",
                batch_no=part.no,
                actor=self.new.user,
                count=part.total,
            )
        for part in self._parts:
            if not part.total:
                tx.run("delete_batch_row", {"no": part.no})

    def abort(self) -> None:
        """Nothing of the load remains."""
        for part in self._parts:
            delete_batch(self.engine, part.no)
        self._leave()

    def _leave(self) -> None:
        if self._presence is not None:
            self._presence.leave()
            self._presence = None


def abort_abandoned(engine: Engine, org: str | None = None) -> int:
    """Delete loads (and go on deleting batches) whose process is gone; what takes too long is left for the next pass,
    for a worker that calls this has other things to do. Returns how many."""
    loads = snapshot(engine, lambda tx: tx.all("abandoned_loads", {"org": org}))
    gone = [no for no, loader in loads if not engine.alive(loader)]
    deadline = time.monotonic() + _PATIENCE
    for no in gone:
        delete_batch(engine, no, deadline=deadline)
    return len(gone)
