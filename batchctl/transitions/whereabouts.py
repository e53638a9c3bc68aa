"""Which of the queue's files are on a worker's host: what is not here is left to others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from batchctl.engines.base import Tx
from batchctl.model import Item
from batchctl.places import Place, Places
from batchctl.transitions.file_facts import file_ref

_LOOKED_AT = 10_000  # files of a batch in one look for one that is here


@dataclass(slots=True)
class Whereabouts:
    """What one worker has found out.

    places      what its host has
    _each       batches whose files are to be looked at one by one
    _elsewhere  batches none of whose files is here
    _behind     batches of which some files are not here: those of its pending items up to this number
    _away       suspects whose file is not here
    """

    places: Places = field(default_factory=lambda: Places(""))
    _each: set[int] = field(default_factory=set)
    _elsewhere: set[int] = field(default_factory=set)
    _behind: dict[int, int] = field(default_factory=dict)
    _away: set[int] = field(default_factory=set)

    # -- what a claim asks

    def meet(self, batch_no: int, host: str, folder: str | None) -> None:
        """A batch that was enqueued on `host` and whose files all lie in `folder` (None: it needs none)."""
        place = self.places.batch(host, folder)
        if place is not Place.HERE:
            (self._each if place is Place.EACH else self._elsewhere).add(batch_no)

    def not_here(self, batch_nos: Iterable[int] | None = None) -> set[int]:
        """Those of the batches (None: of all that were met) none of whose files is here."""
        return set(self._elsewhere) if batch_nos is None else self._elsewhere.intersection(batch_nos)

    def behind(self, batch_no: int) -> int:
        """The number behind which the batch's next item for us stands."""
        return self._behind.get(batch_no, 0)

    def is_mixed(self, batch_no: int) -> bool:
        """Whether some of its pending items were passed over: it is not empty where we find nothing more."""
        return batch_no in self._behind

    def explain(self, batch_nos: Collection[int]) -> bool:
        """Whether all of these were left alone, wholly or in part, because files of them are not here."""
        return self._elsewhere.union(self._behind).issuperset(batch_nos)

    def is_away(self, suspect: int) -> bool:
        """Whether the file of this item, a suspect, was found not to be here."""
        return suspect in self._away

    # -- what a worker does with what it has claimed

    def sort_out(self, items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
        """(those whose files are here or that need none, those that are to be given back and left to others)"""
        if not self._each:
            return list(items), []
        here, away = list[Item](), list[Item]()
        for item in items:
            foreign = item.batch.no in self._each and item.file is not None and not self.places.file(item.file.path)
            (away if foreign else here).append(item)
        return here, away

    def leave_alone(self, tx: Tx, items: Iterable[Item]) -> None:
        """These have been given back: their files are on other hosts. Pass over what lies with them."""
        for item in items:
            if item.suspect:
                self._away.add(item.number)
            else:
                self._search(tx, item.batch.no)

    def look_around(self, tx: Tx) -> None:
        """Files and folders come and go: find anew what is here. The batches have to be met again."""
        self.places = self.places.seen()
        self._each.clear()
        self._elsewhere.clear()
        self._away.clear()
        for batch_no in list(self._behind):
            self._behind[batch_no] = 0
            self._search(tx, batch_no)

    def elsewhere(self, tx: Tx) -> tuple[dict[int, int | None], bool]:
        """Where nothing is left to claim: how many items of a batch wait for other hosts (None: all that are not
        final), and whether one that is here was passed over and may be claimed now."""
        found: dict[int, int | None] = dict.fromkeys(self._elsewhere)
        earlier = False
        for batch_no, before in list(self._behind.items()):
            self._behind[batch_no] = 0
            if not self._search(tx, batch_no):
                found[batch_no] = tx.value("count_pending", {"no": batch_no})
            earlier = earlier or self._behind[batch_no] < before
        return found, earlier

    def _search(self, tx: Tx, batch_no: int) -> bool:
        """Go on to the next pending item of the batch whose file is here. False where there is none."""
        while True:
            after = self._behind.setdefault(batch_no, 0)
            rows = tx.all("pending_files", {"no": batch_no, "after": after, "limit": _LOOKED_AT})
            for number, file in rows:
                if file is None or self.places.file(file_ref(file).path):
                    return True
                self._behind[batch_no] = number
            if len(rows) < _LOOKED_AT:
                return False
