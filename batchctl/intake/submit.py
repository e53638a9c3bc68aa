"""Items into the store: by chunks under a batch that nobody sees, made real by one commit, or not at all."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice

from batchctl.intake.limits import MostItems
from batchctl.intake.problems import SHOWN, Problems
from batchctl.model import Incoming, NewBatch
from batchctl.store import CHUNK, Loaded, Loading, Store

_REMEMBERED = 200_000  # keys of refused input that are kept in memory to tell which stand twice


@dataclass(frozen=True, slots=True)
class Terms:
    """How a batch is to be made.

    on_duplicate   "refuse", "skip" or "last": what to do with a key that was there before
    max_items      the most that is accepted in one batch
    """

    new: NewBatch
    split: int | None = None
    on_duplicate: str = "refuse"
    skip_known: bool = False
    again: bool = False
    max_items: MostItems = field(default_factory=MostItems)

    @property
    def certain(self) -> bool:
        """Whether every item counts; else some of those to come may be left out."""
        return not self.skip_known and self.on_duplicate == "refuse"


@dataclass(slots=True)
class Submission:
    """One load. `open_store` is called when there is something to store, so that refused input makes no store."""

    terms: Terms
    problems: Problems
    open_store: Callable[[], Store]
    contents: Callable[[str], bytes] | None = None  # reads a file (from its facts) that is to be stored
    count: int = 0
    _loading: Loading | None = None
    _first: dict[str, int] = field(default_factory=dict)
    _content: hashlib._Hash = field(init=False, repr=False)

    def __post_init__(self) -> None:
        new = self.terms.new
        self._content = hashlib.sha256(json.dumps([new.kind, new.processor, new.definition]).encode())

    def submit(self, items: Iterable[Incoming]) -> Loaded:
        """Store all items, or none. Raises InvalidInput with all problems, DuplicateBatch or a StoreError."""
        try:
            stream = iter(items)
            with _no_collector():
                while chunk := list(islice(stream, CHUNK)):
                    self._take(chunk)
            self._refuse_too_many()
            self.problems.raise_if_any("the input")
            if self._loading is None:
                return Loaded([], existing=False, skipped_items=0)
            loading, self._loading = self._loading, None  # from here on it ends itself
            return loading.finish(self._content.hexdigest(), again=self.terms.again)
        finally:
            if self._loading is not None:
                self._loading.abort()

    def _take(self, chunk: list[Incoming]) -> None:
        self.count += len(chunk)
        update_content(self._content, chunk)
        if self._too_many() or self.problems.count >= SHOWN:
            return  # it will be refused, and there is nothing more to say: only the counts go on
        if self._loading is None:
            self._twins_in(chunk)
            if self.problems:
                return  # it will be refused: read on for the other reasons, without a store
            terms = self.terms
            self._loading = self.open_store().load(
                terms.new,
                split=terms.split,
                on_duplicate=terms.on_duplicate,
                skip_known=terms.skip_known,
                contents=self.contents,
            )
            self._first.clear()
        for twin in self._loading.add(chunk):
            self._twin(twin.where, twin.key, twin.first_position)

    def _twins_in(self, chunk: Sequence[Incoming]) -> None:
        """Keys that stand twice, found while there is no store: in the first chunk, or once input is refused."""
        if self.terms.on_duplicate != "refuse" or len(self._first) > _REMEMBERED:
            return
        for item in chunk:
            first = self._first.setdefault(item.key, item.position)
            if first != item.position:
                self._twin(item.where, item.key, first)

    def _twin(self, where: str, key: str, position: int) -> None:
        self.problems.add(where, f"the key {key!r} was there before, in item {position:,} (see --on-duplicate)")

    def _accepted(self) -> int:
        return self.count - (self._loading.skipped if self._loading else 0)

    def _too_many(self) -> bool:
        """Whether the items so far are more than one batch may hold, whatever is left out of them later."""
        most = self.terms.max_items.count
        if most is None or self.terms.split is not None:
            return False
        return (self.count if self._certain else self._accepted() - CHUNK) > most

    @property
    def _certain(self) -> bool:
        return self.terms.certain

    def _refuse_too_many(self) -> None:
        if self.terms.split is None:
            self.terms.max_items.refuse(self._accepted(), certain=self._certain, details=self.problems.details())


@contextmanager
def _no_collector() -> Iterator[None]:
    """A chunk is thousands of objects without a cycle; walking through them again and again costs a tenth."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def update_content(content: hashlib._Hash, chunk: Sequence[Incoming]) -> None:
    """Add the items to the hash; NUL can stand in neither keys nor JSON text, so it keeps them apart."""
    parts = [[item.key for item in chunk], [item.payload for item in chunk]]
    if any(item.sha256 for item in chunk):
        parts.append([item.sha256 or "" for item in chunk])
    content.update("\0".join(chain(*parts, ("",))).encode())
