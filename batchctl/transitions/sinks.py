"""What the store knows for those who put results elsewhere: whose claims hold, how long files are."""

from __future__ import annotations

import json
from collections.abc import Sequence

from batchctl.engines.base import Tx
from batchctl.model import Item


def held(tx: Tx, worker_id: str, items: Sequence[Item]) -> set[tuple[int, int]]:
    """(number, claim) of those that the worker still holds; they stay so until the end of the transaction."""
    ids = json.dumps(sorted(item.number for item in items))
    return set(tx.all("claims_held", {"ids": ids, "worker_id": worker_id}))


def register(tx: Tx, name: str, length: int) -> None:
    """A file that is to be appended to; where it is known already nothing changes."""
    tx.run("register_sink", {"path": name, "size": length})


def length(tx: Tx, name: str) -> int:
    """Bytes of the file that are committed."""
    return int(tx.value("sink_size", {"path": name}) or 0)


def remember(tx: Tx, name: str, length: int) -> None:
    """So many bytes are committed with this transaction."""
    tx.run("set_sink_size", {"path": name, "size": length})
