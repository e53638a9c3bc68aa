"""The content of files that is kept in the store: in while a batch is loaded, out when it is deleted, bit by bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from batchctl.engines.again import again
from batchctl.engines.base import Engine, Tx

_BYTES = 8_000_000  # in one commit, where files are smaller than that
_FILES = 1_000


def store(engine: Engine, batch_no: int, read: Callable[[str], bytes], ours: Callable[[Tx], None]) -> None:
    """Store what `read` gives for the facts of each file of the batch. `ours` raises where the batch is no longer
    loaded by us."""
    for part in _parts(engine, batch_no, read):
        _insert(engine, part, ours)


def _parts(engine: Engine, batch_no: int, read: Callable[[str], bytes]) -> Iterator[list[tuple[int, bytes]]]:
    part, size = list[tuple[int, bytes]](), 0
    after, last = _range(engine, batch_no)
    while rows := _files(engine, {"no": batch_no, "after": after, "last": last}):
        for number, facts in rows:
            part.append((number, read(facts)))
            size += len(part[-1][1])
            if size >= _BYTES or len(part) >= _FILES:
                yield part
                part, size = [], 0
        after = rows[-1][0]
    if part:
        yield part


@again
def _range(engine: Engine, batch_no: int) -> tuple[int, int]:
    with engine.read() as tx:
        first, last = tx.one("view_item_range", {"batch_no": batch_no}) or (None, None)
    return (first or 1) - 1, last or 0


@again
def _files(engine: Engine, where: dict[str, int]) -> list[tuple[int, str]]:
    with engine.read() as tx:
        return [(row[0], row[1]) for row in tx.all("files_of", where | {"limit": _FILES})]


@again
def _insert(engine: Engine, part: list[tuple[int, bytes]], ours: Callable[[Tx], None]) -> None:
    with engine.write(shared=True) as tx:
        ours(tx)
        tx.many("insert_content", part)


def content(tx: Tx, number: int) -> bytes | None:
    """Of an item's file; None where it is not there."""
    found = tx.value("content_of", {"id": number})
    return None if found is None else bytes(found)


@again
def remove(engine: Engine, where: dict[str, int]) -> int | None:
    """Delete some contents of the batch `no`, of items behind `after` up to `last`. The last one's number, None where
    there is none left."""
    with engine.write() as tx:
        rows = tx.all("contents_of_batch", {**where, "limit": _FILES})
        doomed, size = list[int](), 0
        for number, length in rows:
            doomed.append(number)
            size += length
            if size >= _BYTES:
                break
        if doomed:
            tx.run("delete_contents_of", {"ids": json.dumps(doomed)})
    return doomed[-1] if doomed else None
