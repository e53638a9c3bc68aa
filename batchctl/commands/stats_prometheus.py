"""`stats --format prometheus`: the figures for node_exporter's textfile collector, or any other reader."""

from __future__ import annotations

from batchctl import __version__
from batchctl.commands.common import Globals
from batchctl.commands.output import target
from batchctl.commands.workers import known_workers
from batchctl.engines.again import again
from batchctl.metrics import Facts, Parts, text
from batchctl.store import Store
from batchctl.views.outages import Outage, outages
from batchctl.views.stats import by_part

_READABLE = 0o644  # node_exporter is another user


def write(shared: Globals, store: Store | None, output: str | None) -> None:
    """The document to standard output or to a file, which is replaced as a whole."""
    queue: Parts = {}
    ever: Parts = {}
    if store is not None:
        queue, ever = by_part(shared.views(store))
    with target(output, mode=_READABLE) as out:
        out.write(text(queue, ever, _facts(shared, store)).encode())


def _facts(shared: Globals, store: Store | None) -> Facts:
    if store is None:
        import time

        return Facts(__version__, time.time_ns() // 1_000_000, workers=0)
    alive = [one for one in known_workers(shared, store) if one["alive"]]
    size, free = store.engine.upkeep().space()
    if shared.organization is not None:  # others' work takes part of it
        size = None
    now = store.engine.now()
    return Facts(__version__, now, len(alive), size, free, _down(store, now, shared.organization))


@again
def _down(store: Store, now: int, org: str | None) -> list[Outage]:
    with store.engine.read() as tx:
        return outages(tx, now, org=org)
