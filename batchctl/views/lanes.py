"""What is to be known of lanes and rates: `show --by lane`, `why`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchctl.engines.again import again
from batchctl.views.times import iso
from batchctl.views.views import Views

MANY = 10_000  # items ahead are counted so far
_NAMED = 20


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """An item's lane. `heads` are the rows (id, state, waiting_for, next_attempt_at) of what goes before all others;
    `held_by` is the failed item since which nothing starts; `ahead` how many wait before the item, MANY at the most."""

    value: str
    limit: int
    held_by: int | None
    heads: Sequence[Mapping[str, Any]]
    ahead: int


@again
def lanes_of(views: Views, no: int, *, limit: int, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """A page of a batch's lanes in the order of their first items, and how many there are."""
    with views.engine.read() as tx:
        first, last = tx.one("view_item_range", {"batch_no": no}) or (None, None)
        where = {"batch_no": no, "first": first or 0, "last": last or 0, "limit": limit, "offset": offset}
        return [_lane_json(row) for row in tx.dicts("view_lanes", where)], tx.value("view_lane_total", {"no": no})


def _lane_json(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: int(row[name]) for name in row if name.endswith("_items")}
    ended = counts["completed_items"] + counts["failed_items"] + counts["cancelled_items"]
    upcoming = {
        "id": row["next_id"],
        "key": row["next_key"],
        "state": row["next_state"],
        "waiting_for": row["next_waiting_for"],
        "next_attempt_at": iso(row["next_attempt_at"]),
    }
    waiting = counts["total_items"] - ended - counts["processing_items"]
    head = {"lane": row["lane"], **counts, "waiting_items": waiting, "held_by": row["held_by"]}
    return head | {"next": None if row["next_id"] is None else upcoming}


@again
def lane_facts(views: Views, number: int) -> LaneFacts | None:
    """The lane of an item; None where it goes through none."""
    with views.engine.read() as tx:
        rows = tx.dicts("view_lane_of_item", {"id": number})
        if not rows:
            return None
        lane = rows[0]
        heads = [head for head in tx.dicts("view_lane_heads", {"no": lane["no"]}) if head["id"] != number]
        ahead = tx.value("view_lane_ahead", {"id": number, "most": MANY})
    return LaneFacts(lane["value"], lane["lane_limit"], lane["held_by"], heads, ahead)


@again
def held_lanes(views: Views, no: int) -> list[tuple[str, int]]:
    """Lanes of a batch that a failure holds, each with the failed item; a few of them where there are many."""
    with views.engine.read() as tx:
        return [(value, item) for value, item in tx.all("view_held_lanes", {"no": no, "most": _NAMED})]


@again
@again
def first_in_lanes(views: Views, no: int) -> list[tuple[str, str]]:
    """Lanes in which items of a batch wait behind another batch, each with its id; a few where they are many."""
    with views.engine.read() as tx:
        return sorted((value, first) for value, first in tx.all("view_first_in_lanes", {"no": no, "most": _NAMED}))


@again
def pace(views: Views, processor: str) -> tuple[float, float] | None:
    """Milliseconds between two starts of the processor, and when the next may be (ms UTC); None without a rate."""
    with views.engine.read() as tx:
        row = tx.one("view_pace", {"processor": processor})
    return None if row is None else (row[0], row[1])
