"""Progress of batches in the store, for every command that waits for work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchctl.console.progress import Glimpse, LiveProgress
from batchctl.engines.base import Engine
from batchctl.errors import NotFound
from batchctl.views import Views

_SHOWN = 20
_ITEMS = 4  # of each batch, those that tell how far they are


def live_progress(
    open_reader: Callable[[], Engine], batch_nos: Sequence[int] | None, org: str | None = None
) -> LiveProgress:
    """A block that shows progress while it lasts: `with live_progress(store.engine.reader, nos or None): …`.

    Without `batch_nos` everything unfinished is shown, also what comes later. The reader is opened, used and closed
    by the progress thread alone.
    """
    return LiveProgress(lambda: _Watched(open_reader(), batch_nos, org))


class _Watched:
    """Looks at the batches: those that run first, and each that has ended once more."""

    def __init__(self, engine: Engine, batch_nos: Sequence[int] | None, org: str | None) -> None:
        self._views = Views(engine, org)
        self._named = None if batch_nos is None else frozenset(batch_nos)
        self._open = set(list(batch_nos or ())[:_SHOWN])

    def __call__(self) -> Glimpse:
        unfinished = [no for no in self._views.unfinished() if self._named is None or no in self._named]
        shown = unfinished[:_SHOWN]
        ended = sorted(self._open - set(unfinished))
        self._open = (self._open | set(shown)) - set(ended)
        batches, running = [], {}
        for no in [*ended, *shown]:
            try:
                batch = self._views.batch(no)
            except NotFound:  # deleted while we watch
                continue
            batches.append(batch)
            if batch["processing_items"]:
                running[batch["id"]] = self._views.running(no, _ITEMS)
        return Glimpse(batches, len(unfinished) - len(shown), running)

    def close(self) -> None:
        self._views.engine.close()
