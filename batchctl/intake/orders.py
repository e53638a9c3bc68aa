"""Orders to items: every record of every source, with its key, checked against what the processor needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any

import msgspec

from batchctl.errors import UsageError
from batchctl.intake.keys import LONGEST_KEY, NoKey, default_fields, key_of, plain
from batchctl.intake.lanes import LaneOf, NoLane
from batchctl.intake.names import is_utf8, readable
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
    lane_of: LaneOf | None = None,
    problems: Problems,
) -> Iterator[Incoming]:
    """The items in input order, positions from 1, of the first `limit` records. Bad ones go to `problems` and are left
    out."""
    positions = count(1)
    if limit is not None:
        streams = _first(streams, limit)
    records = (_items(name, found, tuple(key_fields), positions, check, lane_of, problems) for name, found in streams)
    return chain.from_iterable(records)


def _first(streams: Iterable[Stream], limit: int) -> Iterator[Stream]:
    """The first records of all streams together; what comes after them is not read, good or bad."""
    left = limit

    def taken(found: Iterable[Record]) -> Iterator[Record]:
        nonlocal left
        for record in islice(found, left):
            left -= 1
            yield record

    for name, found in streams:
        if not left:
            return
        yield name, taken(found)


def _items(
    name: str,
    found: Iterable[Record],
    fields: tuple[str, ...],
    positions: Iterator[int],
    check: Check | None,
    lane_of: LaneOf | None,
    problems: Problems,
) -> Iterator[Incoming]:
    # The loop of the million: what it does for each record is what enqueue costs.
    records = iter(found)
    first = next(records, None)
    if first is None:
        return
    fields = fields or default_fields(first[2])
    explicit = bool(fields)
    single = fields[0] if len(fields) == 1 else None
    for (line, payload, record), position in zip(chain((first,), records), positions, strict=False):
        where = f"{name}:{line}"
        key = record.get(single) if single else None
        # The first two are a quick way to say that it is plain.
        if type(key) is not str or not ((key.isalnum() and len(key) <= LONGEST_KEY) or plain(key)):
            try:
                key = key_of(record, fields) if explicit else str(position)
            except NoKey as error:
                problems.add(where, str(error))
                continue
        if check is not None and (reasons := check(record)):
            for reason in reasons:
                problems.add(where, reason)
            continue
        lane = None
        if lane_of is not None:
            try:
                lane = lane_of(record)
            except NoLane as error:
                problems.add(where, str(error))
                continue
        yield Incoming(key, position, payload, where, explicit, None, None, lane)


def given_ids(ids: Sequence[str], problems: Problems) -> Iterator[Record]:
    """`--id X` as records `{"id": "X"}`; what is not UTF-8 goes to `problems`."""
    for number, value in enumerate(ids, 1):
        if not is_utf8(value):
            problems.add(f"--id:{number}", f"{readable(value)!r} is not UTF-8")
            continue
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
