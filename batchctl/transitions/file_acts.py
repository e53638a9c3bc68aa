"""What is to become of the files of items that have come to an end: noted in the commit of that end, done afterwards.

An act is done within a transaction that has the store for itself: nobody sends an item back into the queue while its
file moves.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from batchctl import hosts
from batchctl.engines.base import Engine, Tx
from batchctl.model import FileRef
from batchctl.transitions.common import event
from batchctl.transitions.file_facts import file_ref


@dataclass(frozen=True, slots=True)
class Intent:
    """`folder` is where the file moves to; None: it is deleted. `state` is what became of the item."""

    item_id: int
    state: str
    folder: str | None


@dataclass(frozen=True, slots=True)
class FileAct:
    """An act that is due; `attempts` have failed."""

    item_id: int
    state: str
    folder: str | None
    attempts: int
    file: FileRef
    facts: str


def host_of(engine: Engine) -> str:
    """Whose files an engine's processes can reach: '' where the store itself is on this host."""
    return hosts.here().name if engine.leased else ""


def intend(tx: Tx, intents: Iterable[Intent], host: str, now: int) -> None:
    """Note it, in the commit of the items' ends; items without a file are passed over."""
    tx.many("intend_file_act", [_row(one, host, now) for one in intents])


def _row(one: Intent, host: str, now: int) -> dict[str, object]:
    folder = None if one.folder is None else json.dumps(one.folder)
    act = "delete" if folder is None else "move"
    return {"item_id": one.item_id, "act": act, "folder": folder, "state": one.state, "host": host, "now": now}


def due(tx: Tx, host: str, now: int, limit: int, org: str | None = None) -> list[FileAct]:
    """The next acts for this host's files, those of one organization's items where one is named."""
    rows = tx.all("due_file_acts", {"host": host, "now": now, "limit": limit, "org": org})
    return [
        FileAct(number, state, None if folder is None else json.loads(folder), attempts, file_ref(file), file)
        for number, _, folder, state, attempts, file in rows
    ]


def still_due(tx: Tx, act: FileAct) -> bool:
    """Whether it is still to be done; what was noted for an item that has gone on is taken away."""
    kind = "delete" if act.folder is None else "move"
    asked = {"item_id": act.item_id, "state": act.state, "act": kind, "attempts": act.attempts}
    row = tx.one("begin_file_act", asked)
    if row is None:
        return False
    file, state = row
    if state == act.state and file == act.facts:
        return True
    tx.run("end_file_act", {"item_id": act.item_id})
    return False


def done(tx: Tx, act: FileAct, facts: str | None = None) -> None:
    """It is done; `facts` tell where the file is now, where that has changed."""
    if facts is not None:
        tx.run("file_is_at", {"item_id": act.item_id, "file": facts})
    tx.run("end_file_act", {"item_id": act.item_id})


def left(tx: Tx, act: FileAct, reason: str, now: int) -> None:
    """The file stays where it is, for good; the audit trail says why."""
    tx.run("end_file_act", {"item_id": act.item_id})
    batch_no, organization = tx.one("batch_of_item", {"id": act.item_id}) or (None, "")
    detail = {"reason": reason}
    event(tx, "file_kept", now, organization=organization, batch_no=batch_no, item_id=act.item_id, detail=detail)


def put_off(tx: Tx, act: FileAct, until: int, error: str) -> None:
    """It could not be done now."""
    tx.run("put_off_file_act", {"item_id": act.item_id, "at": until, "error": error})


def forget(tx: Tx, items: Collection[int]) -> None:
    """These items go back into the queue: their files stay where they are."""
    tx.run("delete_file_acts_of", {"ids": json.dumps(list(items))})
