"""enqueue: items go in by chunks under a batch that no command sees; one commit makes it exist."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchctl.engines.base import Engine, Presence, Row, Tx
from batchctl.errors import DuplicateBatch
from batchctl.model import Incoming, NewBatch
from batchctl.transitions.common import event, open_group
from batchctl.transitions.deleting import delete_batch
from batchctl.transitions.fingerprints import fingerprint

CHUNK = 5_000
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


@dataclass(slots=True)
class Loading:
    """A batch (with `split`, several) on its way in. End it with `finish` or `abort`; after a crash, recovery does."""

    engine: Engine
    new: NewBatch
    split: int | None = None
    on_duplicate: str = "refuse"
    skip_known: bool = False
    skipped: int = 0
    _parts: list[_Part] = field(default_factory=list)
    _keys: set[int] = field(default_factory=set)
    _explicit: bool = True
    _group: str | None = None
    _presence: Presence | None = None
    _loader: str = ""

    def add(self, chunk: Sequence[Incoming]) -> list[Duplicate]:
        """Store at most CHUNK items in one commit. Returns those whose key was there before, where that is refused."""
        if self._presence is None:
            self._loader = "l" + secrets.token_hex(8)
            self._presence = self.engine.presence(self._loader)
            if self.skip_known:
                _begin_to_remember(self.engine, self.new.processor)
        found: list[Duplicate] = []
        with self.engine.write() as tx:
            fresh = self._unknown(tx, chunk) if self.skip_known else chunk
            rest = list(fresh)
            while rest:
                part = self._part(tx)
                room = self.split - part.total if self.split else len(rest)
                head, rest = rest[:room], rest[room:]
                found += self._insert(tx, part, head)
        return found

    def _part(self, tx: Tx) -> _Part:
        if not self._parts or (self.split and self._parts[-1].total >= self.split):
            self._parts.append(_Part(self._new_batch(tx)))
        return self._parts[-1]

    def _new_batch(self, tx: Tx) -> int:
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
            "explicit_keys": 1,
            "not_before": new.not_before,
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
        rows = [(first + n, part.no, item.position, item.key, organization) for n, item in enumerate(items)]
        inserted = tx.bulk("insert_items", rows)
        stored = list(enumerate(items, first))
        if inserted != len(items):
            own, twins = self._twins(tx, part, items, first)
            duplicates += twins
            stored = [(number, item) for number, item in enumerate(items, first) if number in own]
        tx.bulk("insert_item_data", [(number, item.payload, item.file) for number, item in stored])
        part.total += inserted
        self._explicit = self._explicit and items[0].explicit_key
        if tx.value("processor_remembers", {"processor": self.new.processor}):
            _remember(tx, self.new, stored)
        return duplicates

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
        items[:] = kept
        return duplicates

    def _earlier(self, tx: Tx, key: str) -> tuple[int, int] | None:
        for part in self._parts[:-1]:
            row = tx.one("items_by_key", {"keys": json.dumps([key]), "batch_no": part.no})
            if row:
                return int(row[1]), int(row[2])
        return None

    def _unknown(self, tx: Tx, chunk: Sequence[Incoming]) -> list[Incoming]:
        """Leave out what the processor has completed or still has in its queue, and repeats within the chunk."""
        scope = {"processor": self.new.processor, "organization": self.new.organization or "", "loader": self._loader}
        fresh: dict[bytes, Incoming] = {}
        for item in chunk:
            mark = _fingerprint(item)
            known = mark in fresh or tx.value("is_known", scope | {"fingerprint": mark})
            if known:
                self.skipped += 1
            else:
                fresh[mark] = item
        return list(fresh.values())

    def finish(self, content_hash: str, *, again: bool) -> Loaded:
        """Make the batches exist. `content_hash` covers processor, options and items.
        Raises DuplicateBatch where the idempotency key was used for something else, or (without `again`) where an
        unfinished batch has the same content; nothing of the load remains then."""
        parts = [part for part in self._parts if part.total]
        if not parts:
            self.abort()
            return Loaded([], False, self.skipped)
        try:
            with self.engine.write() as tx:
                existing = self._existing(tx, content_hash, again=again)
                if not existing:
                    self._publish(tx, parts, content_hash)
        except BaseException:
            self.abort()
            raise
        if existing:
            self.abort()
            return Loaded(existing, True, 0)
        self._leave()
        return Loaded([part.no for part in parts], False, self.skipped)

    def _existing(self, tx: Tx, content_hash: str, *, again: bool) -> list[int]:
        scope = {"organization": self.new.organization or "", "processor": self.new.processor}
        if self.new.idempotency_key:
            row = tx.one("batch_by_idempotency_key", scope | {"idempotency_key": self.new.idempotency_key})
            if row and row[2] == content_hash:
                group = tx.value("group_of_batch", {"no": row[0]})
                return [no for (no,) in tx.all("batches_of_group", {"group_name": group})] if group else [row[0]]
            if row:
                raise DuplicateBatch(
                    f"idempotency key {self.new.idempotency_key!r} belongs to batch {row[1]}, which has other content",
                    hint=f"see it with `batchctl show {row[1]}`, or choose another key",
                )
            return []
        twin = None if again else tx.value("unfinished_twin", scope | {"content_hash": content_hash})
        if twin:
            raise DuplicateBatch(
                f"batch {twin} has the same content for {self.new.processor} and is not finished yet",
                hint="add --again to enqueue it once more",
            )
        return []

    def _publish(self, tx: Tx, parts: list[_Part], content_hash: str) -> None:
        now = self.engine.now()
        for number, part in enumerate(parts):
            key = self.new.idempotency_key if number == 0 else None
            row = {"no": part.no, "total": part.total, "explicit_keys": int(self._explicit)}
            tx.run("publish_batch", row | {"content_hash": content_hash, "idempotency_key": key})
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


def abort_abandoned(engine: Engine) -> int:
    """Delete loads whose process is gone. Returns how many."""
    with engine.read() as tx:
        loads = tx.all("abandoned_loads")
    gone = [no for no, loader in loads if not engine.alive(loader)]
    for no in gone:
        delete_batch(engine, no)
    return len(gone)


def _token() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def _fingerprint(item: Incoming) -> bytes:
    return fingerprint(key=item.key, payload=item.payload, sha256=item.sha256, explicit_key=item.explicit_key)


def _remember(tx: Tx, new: NewBatch, items: list[tuple[int, Incoming]]) -> None:
    scope = {"processor": new.processor, "organization": new.organization or ""}
    tx.many("insert_seen", [scope | {"fingerprint": _fingerprint(item), "item_id": number} for number, item in items])


def _begin_to_remember(engine: Engine, processor: str) -> None:
    """The first --skip-known of a processor: note what it has, in chunks. From then on every enqueue notes what it
    adds."""
    after = 0
    while True:
        with engine.write() as tx:
            tx.run("ensure_processor", {"processor": processor})
            if tx.value("processor_remembers", {"processor": processor}):
                return
            rows = tx.all("remember_existing", {"processor": processor, "after": after, "limit": CHUNK})
            tx.many("insert_seen", [_seen_row(processor, row) for row in rows])
            if not rows:
                tx.run("remember_processor", {"processor": processor})
                return
            after = rows[-1][0]


def _seen_row(processor: str, row: Row) -> dict[str, object]:
    number, organization, key, payload, sha256, explicit = row
    mark = fingerprint(key=key, payload=payload, sha256=sha256, explicit_key=bool(explicit))
    return {"processor": processor, "organization": organization, "fingerprint": mark, "item_id": number}
