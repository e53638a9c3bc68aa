"""The batches of a load (with --split, several), while no command sees them."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from batchctl import hosts
from batchctl.engines.base import Tx
from batchctl.errors import StoreError
from batchctl.model import NewBatch

_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(slots=True)
class Part:
    """One batch of the load."""

    no: int
    total: int = 0
    folder: str | None = None


def new_part(tx: Tx, new: NewBatch, *, group: str | None, loader: str, explicit: bool, now: int) -> Part:
    """A batch that is loading; `loader` is the token of the process that does it."""
    row = {
        "id": "b" + _token(),
        "name": new.name,
        "group_name": group,
        "kind": new.kind,
        "processor": new.processor,
        "definition": new.definition,
        "organization": new.organization or "",
        "submitter": new.user,
        "priority": int(new.priority),
        "loader": loader,
        "explicit_keys": int(explicit),
        "not_before": new.not_before,
        "host": hosts.here().name,
        "now": now,
    }
    tx.run("ensure_processor", {"processor": new.processor})
    return Part(int(tx.value("insert_batch", row)))


def new_group(new: NewBatch) -> str:
    """The name of the group that the batches of a split are."""
    return new.name or "g" + _token()


def refuse_lost(tx: Tx, part: Part, loader: str) -> None:
    """A process that could not show for a while that it lives may have been taken for dead by another host."""
    if tx.value("load_is_ours", {"no": part.no, "loader": loader}) is None:
        raise taken_for_dead()


def taken_for_dead() -> StoreError:
    """What the loader is told then."""
    return StoreError(
        "the enqueue could not reach the store for a while, and another host has cleaned up after it",
        hint="run the command again: nothing of it was stored",
    )


def _token() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))
