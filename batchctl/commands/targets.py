"""BATCH|ITEM arguments of the commands that change something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchctl.commands.common import Globals
from batchctl.engines.again import snapshot
from batchctl.engines.base import Tx
from batchctl.errors import BatchctlError, NotFound, UsageError
from batchctl.store import Store
from batchctl.views import resolve_batches, resolve_target


@dataclass
class Targets:
    """What was named: whole batches, and single items by their batch."""

    batch_nos: list[int] = field(default_factory=list)
    items: dict[int, list[int]] = field(default_factory=dict)

    @property
    def all_batch_nos(self) -> list[int]:
        return sorted({*self.batch_nos, *self.items})


def resolve_all(tx: Tx, names: Sequence[str], org: str | None) -> Targets:
    """Every name, or none: raises NotFound or UsageError with all that are wrong."""
    found = Targets()
    wrong: list[BatchctlError] = []
    for name in names:
        try:
            target = resolve_target(tx, name, org)
        except (NotFound, UsageError) as error:
            wrong.append(error)
            continue
        found.batch_nos += [no for no in target.batch_nos if no not in found.batch_nos]
        if target.item_id is not None:
            no = tx.value("view_item_batch", {"id": target.item_id})
            found.items.setdefault(no, []).append(target.item_id)
    _refuse(wrong)
    for no in found.batch_nos:  # the whole batch takes its items along
        found.items.pop(no, None)
    return found


def batches_of(shared: Globals, names: Sequence[str]) -> tuple[Store, list[int]]:
    """The store, and the batches that were named. Raises NotFound, or UsageError for an item's number."""
    store = shared.existing_store(names[0])

    def ask(tx: Tx) -> tuple[list[int], list[BatchctlError]]:
        nos: list[int] = []
        wrong: list[BatchctlError] = []
        for name in names:
            try:
                nos += [no for no in resolve_batches(tx, name, shared.organization) if no not in nos]
            except (NotFound, UsageError) as error:
                wrong.append(error)
        return nos, wrong

    nos, wrong = snapshot(store.engine, ask)
    _refuse(wrong)
    return store, nos


def _refuse(wrong: Sequence[BatchctlError]) -> None:
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        kind = type(wrong[0])
        details = [line for error in wrong for line in (error.message, *(f"  {one}" for one in error.details))]
        raise kind(f"{len(wrong)} names stand for nothing; nothing was changed", details=details, hint=wrong[0].hint)
