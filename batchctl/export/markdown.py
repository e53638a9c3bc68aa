"""Markdown: a heading, the counts and a table for each batch; for tickets and job summaries."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from batchctl.export.source import Source, cell, error_text, exact, line

_STATES = ("completed", "failed", "cancelled", "processing", "waiting", "pending")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")
_LONGEST = 300


def write(out: BinaryIO, sources: list[Source]) -> None:
    for at, source in enumerate(sources):
        if at:
            line(out, "")
        _batch(out, source)


def _batch(out: BinaryIO, source: Source) -> None:
    batch = source.batch
    counts = [f"{batch[f'{state}_items']:,} {state}" for state in _STATES if batch[f"{state}_items"]]
    line(out, f"## {escaped(batch['name'] or batch['id'])}")
    line(out, "")
    line(out, f"{escaped(batch['processor'])}, batch {batch['id']}: {', '.join(counts) or 'no items'}.")
    line(out, "")
    line(out, "| Item | State | Result | Error |")
    line(out, "| --- | --- | --- | --- |")
    for row in source.rows():
        result = _summary(None if row.result is None else exact(row.result))
        cells = (row.item["key"], row.item["state"], result, error_text(row.item))
        line(out, f"| {' | '.join(escaped(text) for text in cells)} |")


def _summary(result: Any) -> str:
    """An object as `name: value, …`, other values as they are."""
    if isinstance(result, dict):
        return ", ".join(f"{name}: {cell(value)}" for name, value in result.items())
    return cell(result)


def escaped(text: str) -> str:
    """Text for a cell: on one line, not too long, nothing in it is markup."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return _SPECIAL.sub(r"\\\1", " ".join(short.split()))
