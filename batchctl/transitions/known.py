"""What --skip-known leaves out: what a processor has completed or still has in its queue.

A processor remembers from its first --skip-known on; from then on every enqueue notes what it adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batchctl.engines.again import again
from batchctl.engines.base import Engine, Row, Tx
from batchctl.model import Incoming
from batchctl.transitions.fingerprints import fingerprint

_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one processor for one organization; `loader` is the token of the load that asks."""

    processor: str
    organization: str
    loader: str

    def begin(self, engine: Engine) -> None:
        """Note what the processor has, in chunks, unless that was done before."""
        after: int | None = 0
        while after is not None:
            after = self._note_existing(engine, after)

    @again
    def _note_existing(self, engine: Engine, after: int) -> int | None:
        """One chunk of items behind that number. Returns the last of them; None where all is noted."""
        with engine.read() as tx:  # the search may be long: it must not hold the write lock
            if tx.value("processor_remembers", {"processor": self.processor}):
                return None
            rows, newest = self._existing(tx, after), tx.value("last_item_id") or 0
        with engine.write() as tx:
            rows = rows or self._existing(tx, newest)  # only what came since we looked
            if not rows:
                tx.run("ensure_processor", {"processor": self.processor})
                tx.run("remember_processor", {"processor": self.processor})
                return None
            tx.bulk("insert_seen", [self._seen(row) for row in rows])
        return int(rows[-1][0])

    def _existing(self, tx: Tx, after: int) -> list[Row]:
        return tx.all("remember_existing", {"processor": self.processor, "after": after, "limit": _CHUNK})

    def _seen(self, row: Row) -> Row:
        number, organization, key, payload, sha256, explicit = row
        mark = fingerprint(key=key, payload=payload, sha256=sha256, explicit_key=bool(explicit))
        return self.processor, organization, mark, number

    def note(self, tx: Tx, items: Iterable[tuple[int, Incoming]]) -> None:
        """These items are in the queue from now on, where the processor remembers at all."""
        if not tx.value("processor_remembers", {"processor": self.processor}):
            return
        marks = sorted((_mark(item), number) for number, item in items)  # one order for all who do this at once
        rows = [(self.processor, self.organization, mark, number) for mark, number in marks]
        tx.many("forget_gone", rows)
        tx.bulk("insert_seen", rows)

    def unknown(self, tx: Tx, chunk: Sequence[Incoming]) -> list[Incoming]:
        """Those that are new. Content that this load has already is known; a key that it has already is not: what
        becomes of that is for `on_duplicate`."""
        fresh, marks = [], set()
        for item in chunk:
            mark, keyed = _mark(item), item.explicit_key and item.sha256 is None
            if (keyed or mark not in marks) and not self._knows(tx, mark, "" if keyed else self.loader):
                fresh.append(item)
                marks.add(mark)
        return fresh

    def overtaken(self, tx: Tx, batch_no: int) -> list[int]:
        """Items of the load that another enqueue has brought into the queue meanwhile."""
        rows = tx.stream("loaded_items", {"no": batch_no})
        return [row[0] for row in rows if self._knows(tx, self._seen(row)[2], "")]

    def _knows(self, tx: Tx, mark: object, loader: str) -> bool:
        scope = {"processor": self.processor, "organization": self.organization}
        return tx.value("is_known", scope | {"fingerprint": mark, "loader": loader}) is not None

    def changed(self, tx: Tx, since: int) -> bool:
        """Whether an enqueue for the same processor and organization has ended after that event."""
        scope = {"processor": self.processor, "organization": self.organization}
        return tx.value("published_since", scope | {"since": since}) is not None


def _mark(item: Incoming) -> bytes:
    return fingerprint(key=item.key, payload=item.payload, sha256=item.sha256, explicit_key=item.explicit_key)
