"""Failures grouped by pattern: counted by the hash that each carries, so that a million cost less than a second."""

from __future__ import annotations

from collections.abc import Sequence

from batchctl.engines.again import again
from batchctl.engines.base import Row, Tx
from batchctl.patterns import Failure, Group, fold
from batchctl.views.views import Views

KEYS = 10
_LOWEST, _HIGHEST = 0, 2**63 - 1


@again
def failure_groups(
    views: Views, nos: Sequence[int] | None, *, limit: int | None = None, keys: int = KEYS
) -> list[Group]:
    """The failures of these batches (None: of all), most frequent first: at most `limit` groups, with up to `keys` keys
    each. The example is the first in its batch; of all batches the newest one that has such a failure."""
    with views.engine.read() as tx:
        if nos is None:
            return _groups(tx, {"no": None, "org": views.org, "first": _LOWEST, "last": _HIGHEST}, limit, keys)
        found: dict[tuple[str, str], Group] = {}
        for no in nos:
            first, last = tx.one("view_item_range", {"batch_no": no}) or (None, None)
            where = {"no": no, "org": None, "first": first or _LOWEST, "last": last or _LOWEST}
            for group in _groups(tx, where, limit, keys):
                _add(found, group, keys)
    return sorted(found.values(), key=lambda group: -group.count)[:limit]


def _groups(tx: Tx, where: dict[str, object], limit: int | None, keys: int) -> list[Group]:
    rows = tx.all("view_failure_patterns", where | {"limit": -1 if limit is None else limit})
    groups = []
    for pattern, count in rows:
        one = where | {"pattern": pattern, "limit": max(1, keys)}
        if one["no"] is None:
            one["no"] = tx.value("view_newest_failure", one)
        groups.append(_group(tx.all("view_first_failures", one), int(count), keys))
    return groups


def _group(rows: Sequence[Row], count: int, keys: int) -> Group:
    number, key, batch, kind, message, permanent = rows[0]
    example = Failure(number, key, batch, kind or "Error", message or "", bool(permanent))
    return Group(example.type, fold(example.message), example, count, [row[1] for row in rows[:keys]])


def _add(found: dict[tuple[str, str], Group], group: Group, keys: int) -> None:
    """What several batches of one name have in common is one group."""
    known = found.setdefault((group.type, group.pattern), group)
    if known is not group:
        known.count += group.count
        known.keys = (known.keys + group.keys)[:keys]
