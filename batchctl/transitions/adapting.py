"""How many items of a processor with `concurrency: auto` may run now, for all workers together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

import msgspec

from batchctl import adaptive
from batchctl.adaptive import Seen, State
from batchctl.engines.base import Tx


def adapt(tx: Tx, seen: Mapping[str, Seen], now: int) -> None:
    """Move the limits by what the outcomes tell, which are about to be recorded. Comes first in its transaction."""
    for name in sorted(seen):
        text = tx.value("lock_adaptive", {"processor": name})
        before = State() if text is None else msgspec.json.decode(text, type=State)
        held = tx.value("held_of_processor", {"processor": name})
        after = adaptive.observe(before, Seen(seen[name].took, seen[name].congested, held), now)
        if after != before or text is None:
            state = msgspec.json.encode(asdict(after)).decode()
            tx.run("set_adaptive", {"processor": name, "state": state, "limit": after.limit})


def limits(tx: Tx, names: Collection[str]) -> dict[str, int]:
    """The present limit of each of these processors."""
    known: dict[str, int] = {name: limit for name, limit in tx.all("adaptive_limits")}  # noqa: C416 - typed
    return {name: known.get(name, adaptive.START) for name in names}
