"""Removes a batch that nobody may see any more, in chunks that block nobody."""

from __future__ import annotations

from batchctl.engines.base import Engine

_CHUNK = 5_000


def delete_batch(engine: Engine, batch_no: int) -> int:
    """Delete a batch that is `loading` (or was being deleted) with all it has; the row goes last. A batch that has come
    to exist meanwhile is left alone. Returns how many items went."""
    with engine.write() as tx:
        if not tx.run("begin_delete", {"no": batch_no, "now": engine.now()}):
            return 0
    deleted = 0
    while True:
        with engine.write() as tx:
            ids = tx.all("items_to_delete", {"no": batch_no, "limit": _CHUNK})
            if not ids:
                tx.run("delete_group", {"no": batch_no})
                tx.run("delete_batch_row", {"no": batch_no})
                return deleted
            tx.many("delete_item_data", ids)
            tx.many("delete_item", ids)
        deleted += len(ids)
