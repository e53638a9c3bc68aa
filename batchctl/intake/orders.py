"""Orders to items: every record of every source, with its key, checked against what the processor needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from batchctl.errors import UsageError
from batchctl.intake.keys import NoKey, default_fields, key_of
from batchctl.intake.problems import Problems
from batchctl.intake.records import Record
from batchctl.model import Incoming

# (name for messages, its records)
Stream = tuple[str, Iterable[Record]]
# What is missing in a record, each a reason for people; [] where it is fine.
Check = Callable[[Mapping[str, Any]], Sequence[str]]


def orders(
    streams: Iterable[Stream],
    *,
    key_fields: Sequence[str] = (),
    limit: int | None = None,
    check: Check | None = None,
    problems: Problems,
) -> Iterator[Incoming]:
    """The items in input order, positions from 1. Bad records go to `problems` and are left out."""
    position = 0
    for name, found in streams:
        rest = None if limit is None else limit - position
        for item in _items(name, islice(found, rest), tuple(key_fields), position, check, problems):
            position = item.position
            yield item
        if limit is not None and position >= limit:
            return


def _items(
    name: str,
    found: Iterable[Record],
    fields: tuple[str, ...],
    position: int,
    check: Check | None,
    problems: Problems,
) -> Iterator[Incoming]:
    # The loop of the million: what it does for each record is what enqueue costs.
    explicit = True
    chosen = fields
    for line, payload, record in found:
        position += 1
        if not chosen and explicit:
            chosen = default_fields(record)
            explicit = bool(chosen)
        where = f"{name}:{line}"
        try:
            key = key_of(record, chosen) if explicit else str(position)
        except NoKey as error:
            problems.add(where, str(error))
            continue
        if check is not None and (reasons := check(record)):
            for reason in reasons:
                problems.add(where, reason)
            continue
        yield Incoming(key, position, payload, where, explicit)


def given_ids(ids: Sequence[str]) -> Iterator[Record]:
    """`--id X` as records `{"id": "X"}`."""
    for number, value in enumerate(ids, 1):
        record = {"id": value}
        yield number, msgspec.json.encode(record).decode(), record


def split_fields(text: str | None) -> tuple[str, ...]:
    """`--key A,B` as ("A", "B"). Raises UsageError for an empty or repeated name."""
    if text is None:
        return ()
    fields = tuple(text.split(","))
    if not all(field.strip() for field in fields) or len(set(fields)) != len(fields):
        message = f"--key {text}: wants field names with commas between them, each once"
        raise UsageError(message, hint="as in --key account_id,uuid")
    return fields
