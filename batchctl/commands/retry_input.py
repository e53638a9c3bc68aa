"""What `retry` reads before it changes anything: corrected orders, files as they are now."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from batchctl import console
from batchctl.commands.common import Globals
from batchctl.commands.targets import Targets
from batchctl.config.structs import LaneConfig
from batchctl.engines.again import again, snapshot
from batchctl.engines.base import Row, Tx
from batchctl.errors import ConfigError, InvalidInput
from batchctl.store import Store

_ADDED = re.compile(r"_(key|state|error|result(\..*)?)$")  # the columns that `results --format csv` adds


def new_payloads(shared: Globals, store: Store, nos: Sequence[int], source: str, key: str | None) -> dict[str, str]:
    """Key → payload (JSON text) from a file of orders, or from `results --format csv` with corrections in it.

    Raises InvalidInput with every reason and its line: records that can't be read, keys that stand twice or that no
    item of these batches has, fields that the processor lacks.
    """
    from batchctl.intake.problems import Problems
    from batchctl.intake.sources import name_of, records

    problems, name = Problems(), name_of(source)
    keyed = _Keys(key)
    check, rules = _check(shared, store, nos), _lanes(shared, store, nos)
    found: dict[str, str] = {}
    for line, text, record in records(source, problems, console.note):
        where = f"{name}:{line}"
        try:
            chosen, payload, order = keyed(text, record)
        except ValueError as error:
            problems.add(where, str(error))
            continue
        for reason in _objections(store, nos, chosen, order, found, check, rules):
            problems.add(where, reason)
        found[chosen] = payload
    if problems:
        count = console.plural(problems.count, "problem")
        raise InvalidInput(f"{name}: {count}; nothing was changed", details=problems.details())
    return found


class _Keys:
    """Key and payload of each record; the fields that make the key are those named, or the usual ones."""

    def __init__(self, named: str | None) -> None:
        from batchctl.intake.orders import split_fields

        self._fields = split_fields(named)

    def __call__(self, text: str, record: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        """Raises ValueError, saying why the record has no key."""
        from batchctl.intake.keys import default_fields, key_of

        if not self._fields and "_key" in record:
            order = {name: value for name, value in record.items() if not _ADDED.match(name)}
            return str(record["_key"]), json.dumps(order, ensure_ascii=False), order
        self._fields = self._fields or default_fields(record)
        if not self._fields:
            raise ValueError("has none of the usual key fields (key, id, uuid, order_id): name it with --key")
        return key_of(record, self._fields), text, record


def _objections(
    store: Store,
    nos: Sequence[int],
    key: str,
    order: dict[str, Any],
    found: Collection[str],
    check: Callable[[dict[str, Any]], list[str]],
    rules: Sequence[LaneConfig],
) -> list[str]:
    if key in found:
        return [f"the key {key!r} stands twice"]
    if not _known(store, nos, key):
        return [f"no item has the key {key!r}"]
    return check(order) or _other_lane(store, nos, key, order, rules)


def _other_lane(
    store: Store, nos: Sequence[int], key: str, order: dict[str, Any], rules: Sequence[LaneConfig]
) -> list[str]:
    """An item stays in its lane: elsewhere it would stand in another order."""
    from batchctl.intake.lanes import NoLane, value_of

    if not rules:
        return []

    def ask(tx: Tx) -> list[dict[str, Any]]:
        found = [tx.value("view_item_by_key", {"batch_no": no, "key": key}) for no in nos]
        return tx.dicts("view_items", {"ids": json.dumps([number for number in found if number is not None])})

    rows = snapshot(store.engine, ask)
    try:
        wanted = {value_of(lane, order) for lane in rules}
    except NoLane as error:
        return [str(error)]
    had = {row["lane"] for row in rows if row["lane"] is not None} - wanted
    return [f"would leave its lane {lane!r}: enqueue it anew instead" for lane in sorted(had)]


def _lanes(shared: Globals, store: Store, nos: Sequence[int]) -> list[LaneConfig]:
    """The lanes of the batches' processors, as far as a config here knows them."""
    rows = _gates(store, nos)
    found = []
    for name, definition in sorted({(row["processor"], row["definition"]) for row in rows}, key=str):
        with contextlib.suppress(ConfigError):
            config = shared.processor_config(name, definition)
            if config is not None and config.lane is not None:
                found.append(config.lane)
    return found


def reread_files(store: Store, targets: Targets, states: Sequence[str]) -> dict[int, str]:
    """Item → facts (JSON text) of its file as it is now. Raises InvalidInput with every file that can't be read."""
    from batchctl.intake.hashing import Unreadable, examine
    from batchctl.transitions.file_facts import file_ref

    wrong: list[str] = []
    found: dict[int, str] = {}
    for number, file in _files(store, targets, states):
        if file_ref(file).stored:
            continue  # it is as it was
        path = file_ref(file).path
        try:
            found[number] = examine(path).as_json()
        except Unreadable as error:
            wrong.append(f"{os.fsencode(path).decode('utf-8', 'backslashreplace')}: {error}")
    if wrong:
        count = console.plural(len(wrong), "file")
        raise InvalidInput(f"{count} cannot be read; nothing was changed", details=wrong)
    return found


def _gates(store: Store, nos: Sequence[int]) -> list[dict[str, Any]]:
    return snapshot(store.engine, lambda tx: [tx.dicts("view_batch_gate", {"no": no})[0] for no in nos])


def _unsuccessful(where: dict[str, Any], tx: Tx) -> list[Row]:
    return tx.all("view_unsuccessful_files", where)


def _files(store: Store, targets: Targets, states: Sequence[str]) -> Iterable[tuple[int, str]]:
    for no in targets.all_batch_nos:
        ids = json.dumps(targets.items[no]) if no in targets.items else None
        where = {"no": no, "states": json.dumps(list(states)), "ids": ids}
        yield from snapshot(store.engine, partial(_unsuccessful, where))


@again
def _known(store: Store, nos: Sequence[int], key: str) -> bool:
    with store.engine.read() as tx:
        return any(tx.value("view_item_by_key", {"batch_no": no, "key": key}) is not None for no in nos)


def _check(shared: Globals, store: Store, nos: Sequence[int]) -> Callable[[dict[str, Any]], list[str]]:
    """What the batches' processors miss in an order; nothing where no config here knows them."""
    from batchctl.intake.checks import check_of

    rows = _gates(store, nos)
    checks = []
    for name, definition in {(row["processor"], row["definition"]) for row in rows}:
        with contextlib.suppress(ConfigError):
            config = shared.processor_config(name, definition)
            secrets = shared.config().secrets if definition is None else {}
            if config is not None and (check := check_of(config, secrets, files=False)) is not None:
                checks.append(check)
    return lambda order: [reason for check in checks for reason in check(order)]
