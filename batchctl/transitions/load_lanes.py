"""The lanes that the items of a load go through: they exist before the items, and the load remembers their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchctl.engines.base import Engine, Row, Tx
from batchctl.model import Incoming, NewBatch
from batchctl.transitions import lanes

_REMEMBERED = 100_000  # numbers of lanes


@dataclass(slots=True)
class LoadLanes:
    """The lanes of one load. `find` comes first, outside of the transaction that stores the items."""

    new: NewBatch
    _numbers: dict[str, int] = field(default_factory=dict)

    def find(self, engine: Engine, items: Sequence[Incoming]) -> None:
        """The numbers of the lanes that these go through, made where there are none yet."""
        wanted = {item.lane for item in items if item.lane is not None}.difference(self._numbers)
        if len(self._numbers) + len(wanted) > _REMEMBERED:
            self._numbers.clear()
            wanted = {item.lane for item in items if item.lane is not None}
        if wanted:
            self._numbers |= lanes.numbers(engine, self.new.processor, self.new.organization or "", wanted)

    def insert(self, tx: Tx, batch_no: int, items: Sequence[Incoming], rows: Sequence[Row]) -> int:
        """Store these items, `rows` being theirs without lanes. Returns how many were new.
        All of them wait for their lanes; when the batch exists, the first ones go on."""
        numbers = [None if item.lane is None else self._numbers[item.lane] for item in items]
        tx.bulk("insert_lane_batches", self._lane_batches(batch_no, numbers))
        waiting = [
            (*row, item.lane, no, *(("waiting", "lane") if no is not None else ("pending", None)))
            for row, item, no in zip(rows, items, numbers, strict=True)
        ]
        return tx.bulk("insert_lane_items", waiting)

    def change(self, tx: Tx, batch_no: int, replaced: Sequence[tuple[int, Incoming]]) -> None:
        """Other data has come for these items (their ids): they go through the lanes which that names."""
        moved = [(item.lane, self._numbers[item.lane], number) for number, item in replaced if item.lane is not None]
        if moved:
            tx.bulk("insert_lane_batches", self._lane_batches(batch_no, [no for _, no, _ in moved]))
            tx.many("change_lane", moved)

    def _lane_batches(self, batch_no: int, numbers: Sequence[int | None]) -> list[Row]:
        return [(batch_no, no, int(self.new.priority)) for no in sorted({no for no in numbers if no is not None})]
