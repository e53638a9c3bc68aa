"""What an enqueue means that was there before: the same idempotency key, or the same content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b

from batchctl.engines.base import Tx
from batchctl.errors import DuplicateBatch
from batchctl.model import NewBatch


@dataclass(frozen=True, slots=True)
class Request:
    """What an enqueue asks for when all its items are in. `content_hash` covers processor, options and items.
    `repeatable`: an unfinished batch with the same content does not matter."""

    new: NewBatch
    split: int | None
    content_hash: str
    repeatable: bool

    @property
    def hash(self) -> str:
        """What an idempotency key stands for. Not the time to start: `+2h` is another one at each repetition."""
        options = [self.content_hash, self.new.name, int(self.new.priority), self.split, self.new.not_before is None]
        return blake2b(json.dumps(options).encode(), digest_size=16).hexdigest()


def existing(tx: Tx, request: Request) -> list[int]:
    """The batches that an earlier enqueue has made of the same request; none where this is a new one.
    Raises DuplicateBatch where it may not be stored."""
    if request.new.idempotency_key:
        return _of_key(tx, request, request.new.idempotency_key)
    if not request.repeatable:
        _refuse_twin(tx, request)
    return []


def _of_key(tx: Tx, request: Request, key: str) -> list[int]:
    row = tx.one("batch_by_idempotency_key", _scope(request.new) | {"idempotency_key": key})
    if row is None:
        return []
    no, name, asked, group = row
    if asked != request.hash:
        raise DuplicateBatch(
            f"idempotency key {key!r} belongs to batch {name}, which differs in content or options",
            hint=f"see it with `batchctl show {name}`, or choose another key",
        )
    if not group:
        return [no]
    load = {"no": no, "content_hash": request.content_hash, "group_name": group}
    return [number for (number,) in tx.all("batches_of_load", _scope(request.new) | load)]


def _refuse_twin(tx: Tx, request: Request) -> None:
    twin = tx.value("unfinished_twin", _scope(request.new) | {"content_hash": request.content_hash})
    if twin:
        raise DuplicateBatch(
            f"batch {twin} has the same content for {request.new.processor} and is not finished yet",
            hint="add --again to enqueue it once more",
        )


def _scope(new: NewBatch) -> dict[str, object]:
    return {"organization": new.organization or "", "processor": new.processor}
