"""A batch's items as they ended, one after the other, in input order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchctl.views.items import item_json
from batchctl.views.views import Views

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One item as the contract's JSON, beside the texts of payload and result as they are stored."""

    item: dict[str, Any]
    payload: str
    result: str | None


def result_rows(views: Views, no: int, states: Sequence[str]) -> Iterator[ResultRow]:
    """The batch's items in these states. One snapshot for all of them, in flat memory."""
    with views.engine.read() as tx:
        gate, attempts = views.facts(tx, [no])[no]
        first, last = tx.one("view_item_range", {"batch_no": no}) or (None, None)
        # Behind a closed gate what is pending in the store is shown as waiting.
        stored = {*states, "pending"} if "waiting" in states else states
        where = {"batch_no": no, "last": last, "states": json.dumps(list(stored)), "limit": _PAGE}
        after = (first or 0) - 1
        while rows := tx.dicts("view_results", where | {"after": after}):
            for row in rows:
                item = item_json(row, gate, attempts)
                if item["state"] in states:
                    yield ResultRow(item, row["payload"], row["result"])
            after = rows[-1]["id"]
