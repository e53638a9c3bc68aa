"""Items of a load whose key stands earlier in the same input: which they are, and whose data is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchctl.engines.base import Tx
from batchctl.model import Incoming
from batchctl.transitions.load_lanes import LoadLanes
from batchctl.transitions.load_parts import Part


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An item whose key stands earlier in the same input, at row `first_position`."""

    where: str
    key: str
    first_position: int


@dataclass(slots=True)
class Twins:
    """The twins of one load. `last_wins`: the data of a twin takes the place of what was stored under its key."""

    lanes: LoadLanes
    last_wins: bool
    _marks: set[int] = field(default_factory=set)

    def in_parts(
        self, tx: Tx, parts: Sequence[Part], items: Sequence[Incoming]
    ) -> tuple[list[Incoming], list[Duplicate]]:
        """With --split a key must be unique in the whole input; a set of hashes tells where to look. The items are for
        the last of the parts. Returns those with a new key, and the twins of what stands in earlier parts."""
        fresh: list[Incoming] = []
        twins: list[Duplicate] = []
        for item in items:
            mark = hash(item.key)
            earlier = _earlier(tx, parts, item.key) if mark in self._marks else None
            self._marks.add(mark)
            if earlier is None:
                fresh.append(item)
                continue
            number, position, batch_no = earlier
            twins.append(Duplicate(item.where, item.key, position))
            if self.last_wins:
                _replace_data(tx, number, item)
                self.lanes.change(tx, batch_no, [(number, item)])
        return fresh, twins

    def in_batch(
        self, tx: Tx, batch_no: int, items: list[Incoming], first: int
    ) -> tuple[list[Incoming], set[int], list[Duplicate]]:
        """The items have ids from `first` on, but not all were stored. Returns them, each with the data that is to be
        stored under its id, the ids that were stored, and the twins."""
        keys = json.dumps([item.key for item in items])
        rows = tx.all("items_by_key", {"keys": keys, "batch_no": batch_no})
        stored = {key: (number, position) for key, number, position in rows}
        own: set[int] = set()
        twins = []
        for number, item in enumerate(items, first):
            stored_id, position = stored[item.key]
            if stored_id == number:
                own.add(number)
            else:
                twins.append(Duplicate(item.where, item.key, position))
        if self.last_wins:
            ids = {key: number for key, (number, _) in stored.items()}
            items = _replace(tx, items, first, ids, own)
            self.lanes.change(tx, batch_no, [(ids[item.key], item) for item in items])
        return items, own, twins


def _earlier(tx: Tx, parts: Sequence[Part], key: str) -> tuple[int, int, int] | None:
    """Id, position and batch of the item that has this key in another part than the last."""
    for part in parts[:-1]:
        row = tx.one("items_by_key", {"keys": json.dumps([key]), "batch_no": part.no})
        if row:
            return int(row[1]), int(row[2]), part.no
    return None


def _replace(tx: Tx, items: list[Incoming], first: int, ids: dict[str, int], own: set[int]) -> list[Incoming]:
    """The last row of a key wins: its data replaces what an earlier chunk, or row of this one, stored."""
    replaced = items.copy()
    for key, item in {item.key: item for item in items}.items():
        number = ids[key]
        if number in own:
            if items[number - first] is item:
                continue
            replaced[number - first] = item  # its data row is written after this
        _replace_data(tx, number, item)
    return replaced


def _replace_data(tx: Tx, number: int, item: Incoming) -> None:
    tx.run("replace_item_data", {"item_id": number, "payload": item.payload, "file": item.file})
