"""enqueue: items go in by chunks under a batch that no command sees; one commit makes it exist."""

from __future__ import annotations

import json
import secrets
import string
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

from batchctl import hosts
from batchctl.engines.again import again as tries_again
from batchctl.engines.base import Engine, Presence, Row, Tx
from batchctl.errors import DuplicateBatch, StoreError
from batchctl.model import Incoming, NewBatch
from batchctl.places import common
from batchctl.transitions import contents, lanes
from batchctl.transitions.common import event, open_group
from batchctl.transitions.deleting import delete_batch
from batchctl.transitions.known import Memory
from batchctl.transitions.limits import failure_limit
from batchctl.transitions.quotas import refuse_over_quota

CHUNK = 5_000
_PATIENCE = 2.0  # seconds for loads that others have left behind
_LANES = 100_000  # whose numbers a load remembers
_PARTS = 500  # of a --split in one commit: a batch costs more than an item
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An item whose key stands earlier in the same input, at row `first_position`."""

    where: str
    key: str
    first_position: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `finish` made: nothing where all was known, the older batches where it existed."""

    batch_nos: list[int]
    existing: bool
    skipped_items: int


@dataclass(slots=True)
class _Part:
    """One batch of the load."""

    no: int
    total: int = 0
    folder: str | None = None


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
    _parts: list[_Part] = field(default_factory=list)
    _keys: set[int] = field(default_factory=set)
    _explicit: bool = True
    _group: str | None = None
    _presence: Presence | None = None
    _loader: str = ""
    _since: int = 0
    _lanes: dict[str, int] = field(default_factory=dict)

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
        self._find_lanes(rest)
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
                self._still_ours(tx, part)
            for _ in range(_PARTS):
                part = self._part(tx, rest[0])
                room = self.split - part.total if self.split else len(rest)
                head, rest = rest[:room], rest[room:]
                found += self._insert(tx, part, head)
                if not rest:
                    break
        return rest, found

    def _find_lanes(self, items: Sequence[Incoming]) -> None:
        """The numbers of the lanes that these go through; lanes exist before the items."""
        wanted = {item.lane for item in items if item.lane is not None}.difference(self._lanes)
        if len(self._lanes) + len(wanted) > _LANES:
            self._lanes.clear()
            wanted = {item.lane for item in items if item.lane is not None}
        if wanted:
            self._lanes |= lanes.numbers(self.engine, self.new.processor, self.new.organization or "", wanted)

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """What we know of the load is as before where the transaction within is rolled back."""
        parts, total = len(self._parts), self._parts[-1].total if self._parts else 0
        before = self.skipped, self._explicit, self._group
        try:
            yield
        except BaseException:
            del self._parts[parts:]
            for part in self._parts[-1:]:
                part.total = total
            self.skipped, self._explicit, self._group = before
            raise

    def _still_ours(self, tx: Tx, part: _Part) -> None:
        """A process that could not show for a while that it lives may have been taken for dead by another host."""
        if tx.value("load_is_ours", {"no": part.no, "loader": self._loader}) is None:
            raise _taken_for_dead()

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

    def _part(self, tx: Tx, first: Incoming) -> _Part:
        if not self._parts or (self.split and self._parts[-1].total >= self.split):
            self._parts.append(_Part(self._new_batch(tx, explicit=first.explicit_key)))
        return self._parts[-1]

    def _new_batch(self, tx: Tx, *, explicit: bool) -> int:
        new = self.new
        if self.split and self._group is None:
            self._group = new.name or "g" + _token()
        row = {
            "id": "b" + _token(),
            "name": new.name,
            "group_name": self._group,
            "kind": new.kind,
            "processor": new.processor,
            "definition": new.definition,
            "organization": new.organization or "",
            "submitter": new.user,
            "priority": int(new.priority),
            "loader": self._loader,
            "explicit_keys": int(explicit),
            "not_before": new.not_before,
            "host": hosts.here().name,
            "now": self.engine.now(),
        }
        tx.run("ensure_processor", {"processor": new.processor})
        return int(tx.value("insert_batch", row))

    def _insert(self, tx: Tx, part: _Part, items: list[Incoming]) -> list[Duplicate]:
        organization = self.new.organization or ""
        duplicates = self._across_parts(tx, items) if self.split else []
        if not items:
            return duplicates
        first = tx.reserve_item_ids(len(items))
        rows = [(number, part.no, item.position, item.key, organization) for number, item in enumerate(items, first)]
        laned = items[0].lane is not None
        inserted = self._insert_laned(tx, part, items, rows) if laned else tx.bulk("insert_items", rows)
        numbers: Sequence[int] = range(first, first + len(items))
        stored = items
        if inserted != len(items):
            own, twins = self._twins(tx, part, items, first)
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

    def _insert_laned(self, tx: Tx, part: _Part, items: list[Incoming], rows: list[Row]) -> int:
        """All of them wait for their lanes; when the batch exists, the first ones go on."""
        numbers = [None if item.lane is None else self._lanes[item.lane] for item in items]
        tx.bulk("insert_lane_batches", self._lane_batches(part, numbers))
        waiting = [
            (*row, item.lane, no, *(("waiting", "lane") if no is not None else ("pending", None)))
            for row, item, no in zip(rows, items, numbers, strict=True)
        ]
        return tx.bulk("insert_lane_items", waiting)

    def _lane_batches(self, part: _Part, numbers: Sequence[int | None]) -> list[Row]:
        return [(part.no, no, int(self.new.priority)) for no in sorted({no for no in numbers if no is not None})]

    def _change_lanes(self, tx: Tx, part: _Part, replaced: Sequence[tuple[int, Incoming]]) -> None:
        """Other data has come for these items: they go through the lanes which that names."""
        moved = [(item.lane, self._lanes[item.lane], number) for number, item in replaced if item.lane is not None]
        if moved:
            tx.bulk("insert_lane_batches", self._lane_batches(part, [no for _, no, _ in moved]))
            tx.many("change_lane", moved)

    def _twins(self, tx: Tx, part: _Part, items: list[Incoming], first: int) -> tuple[set[int], list[Duplicate]]:
        """Which of the reserved ids were stored, and what is to be said of the others."""
        keys = json.dumps([item.key for item in items])
        stored = {
            key: (number, position)
            for key, number, position in tx.all("items_by_key", {"keys": keys, "batch_no": part.no})
        }
        own: set[int] = set()
        duplicates = []
        for number, item in enumerate(items, first):
            stored_id, position = stored[item.key]
            if stored_id == number:
                own.add(number)
            elif self.on_duplicate == "refuse":
                duplicates.append(Duplicate(item.where, item.key, position))
            else:
                self.skipped += 1
        if self.on_duplicate == "last":
            self._replace(tx, {item.key: item for item in items}, stored, own, first, items)
            self._change_lanes(tx, part, [(stored[item.key][0], item) for item in items])
        return own, duplicates

    def _replace(
        self,
        tx: Tx,
        latest: dict[str, Incoming],
        stored: dict[str, tuple[int, int]],
        own: set[int],
        first: int,
        items: list[Incoming],
    ) -> None:
        """The last row of a key wins: its data replaces what an earlier chunk, or row of this one, stored."""
        index = {number: n for n, number in enumerate(range(first, first + len(items)))}
        for key, item in latest.items():
            number = stored[key][0]
            if number in own and items[index[number]] is item:
                continue
            row = {"item_id": number, "payload": item.payload, "file": item.file}
            if number in own:  # its data row is written after this
                items[index[number]] = item
            tx.run("replace_item_data", row)

    def _across_parts(self, tx: Tx, items: list[Incoming]) -> list[Duplicate]:
        """With --split a key must be unique in the whole input; a set of hashes tells where to look."""
        duplicates: list[Duplicate] = []
        kept: list[Incoming] = []
        for item in items:
            mark = hash(item.key)
            twin = self._earlier(tx, item.key) if mark in self._keys else None
            self._keys.add(mark)
            if twin is None:
                kept.append(item)
            elif self.on_duplicate == "refuse":
                duplicates.append(Duplicate(item.where, item.key, twin[1]))
            else:
                self.skipped += 1
                if self.on_duplicate == "last":
                    tx.run("replace_item_data", {"item_id": twin[0], "payload": item.payload, "file": item.file})
                    self._change_lanes(tx, twin[2], [(twin[0], item)])
        items[:] = kept
        return duplicates

    def _earlier(self, tx: Tx, key: str) -> tuple[int, int, _Part] | None:
        for part in self._parts[:-1]:
            row = tx.one("items_by_key", {"keys": json.dumps([key]), "batch_no": part.no})
            if row:
                return int(row[1]), int(row[2]), part
        return None

    def finish(self, content_hash: str, *, again: bool) -> Loaded:
        """Make the batches exist. `content_hash` covers processor, options and items.
        Raises DuplicateBatch where the idempotency key was used for something else, or (without `again`) where an
        unfinished batch has the same content; nothing of the load remains then."""
        try:
            existing = self._known_before(content_hash, again=again) or self._settle(content_hash, again=again)
        except BaseException:
            self.abort()
            raise
        parts = [part.no for part in self._parts if part.total]
        if existing or not parts:
            self.abort()
            return Loaded(existing, bool(existing), 0 if existing else self.skipped)
        self._leave()
        return Loaded(parts, False, self.skipped)

    def _known_before(self, content_hash: str, *, again: bool) -> list[int]:
        """Store the contents of files where that is asked for, unless the same batch exists already."""
        if self.contents is None:
            return []
        existing = self._look_for_existing(content_hash, again=again)
        for part in self._parts if not existing else ():
            contents.store(self.engine, part.no, self.contents, partial(self._still_ours, part=part))
        return existing

    @tries_again
    def _look_for_existing(self, content_hash: str, *, again: bool) -> list[int]:
        with self.engine.read() as tx:
            return self._existing(tx, content_hash, again=again)

    def _settle(self, content_hash: str, *, again: bool) -> list[int]:
        """One commit: publish the load, or find the batches that exist already."""
        while (existing := self._try_to_settle(content_hash, again=again)) is None:
            self._drop_overtaken()
        return existing

    @tries_again
    def _try_to_settle(self, content_hash: str, *, again: bool) -> list[int] | None:
        """None where other enqueues have brought something that --skip-known must know of first."""
        with self.engine.write() as tx:
            if self.skip_known and self._memory.changed(tx, self._since):
                return None
            existing = self._existing(tx, content_hash, again=again)
            if not existing:
                parts = sum(part.total > 0 for part in self._parts)
                if parts:
                    refuse_over_quota(tx, self.new, parts, self.engine.now())
                self._publish(tx, content_hash)
            return existing

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
    def _overtaken(self, part: _Part) -> list[tuple[int]]:
        with self.engine.read() as tx:
            return [(number,) for number in self._memory.overtaken(tx, part.no)]

    @tries_again
    def _drop(self, ids: list[tuple[int]]) -> None:
        with self.engine.write() as tx:
            tx.many("delete_item_content", ids)
            tx.many("delete_item_data", ids)
            tx.many("delete_item", ids)

    def _existing(self, tx: Tx, content_hash: str, *, again: bool) -> list[int]:
        scope = {"organization": self.new.organization or "", "processor": self.new.processor}
        if self.new.idempotency_key:
            row = tx.one("batch_by_idempotency_key", scope | {"idempotency_key": self.new.idempotency_key})
            if row and row[2] == self._request_hash(content_hash):
                load = scope | {"no": row[0], "content_hash": content_hash, "group_name": row[3]}
                return [no for (no,) in tx.all("batches_of_load", load)] if row[3] else [row[0]]
            if row:
                key = self.new.idempotency_key
                raise DuplicateBatch(
                    f"idempotency key {key!r} belongs to batch {row[1]}, which differs in content or options",
                    hint=f"see it with `batchctl show {row[1]}`, or choose another key",
                )
            return []
        free = again or self.skip_known or not self._parts
        twin = None if free else tx.value("unfinished_twin", scope | {"content_hash": content_hash})
        if twin:
            raise DuplicateBatch(
                f"batch {twin} has the same content for {self.new.processor} and is not finished yet",
                hint="add --again to enqueue it once more",
            )
        return []

    def _request_hash(self, content_hash: str) -> str:
        """What an idempotency key stands for. Not the time to start: `+2h` is another one at each repetition."""
        options = [content_hash, self.new.name, int(self.new.priority), self.split, self.new.not_before is None]
        return blake2b(json.dumps(options).encode(), digest_size=16).hexdigest()

    def _publish(self, tx: Tx, content_hash: str) -> None:
        now = self.engine.now()
        for number, part in enumerate(part for part in self._parts if part.total):
            key = self.new.idempotency_key if number == 0 else None
            most = failure_limit(self.new.max_failures, part.total)
            row: dict[str, object] = {"no": part.no, "total": part.total, "explicit_keys": int(self._explicit)}
            row |= {"failure_limit": most, "folder": part.folder}
            request = self._request_hash(content_hash) if key else None
            hashes = {"content_hash": content_hash, "request_hash": request, "idempotency_key": key}
            if not tx.run("publish_batch", row | hashes | {"loader": self._loader}):
                raise _taken_for_dead()
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


def _taken_for_dead() -> StoreError:
    return StoreError(
        "the enqueue could not reach the store for a while, and another host has cleaned up after it",
        hint="run the command again: nothing of it was stored",
    )


def abort_abandoned(engine: Engine, org: str | None = None) -> int:
    """Delete loads (and go on deleting batches) whose process is gone; what takes too long is left for the next pass,
    for a worker that calls this has other things to do. Returns how many."""
    with engine.read() as tx:
        loads = tx.all("abandoned_loads", {"org": org})
    gone = [no for no, loader in loads if not engine.alive(loader)]
    deadline = time.monotonic() + _PATIENCE
    for no in gone:
        delete_batch(engine, no, deadline=deadline)
    return len(gone)


def _token() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))
