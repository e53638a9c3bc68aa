"""JSON Lines: one item, in the contract's JSON, a line."""

from __future__ import annotations

import json
from typing import BinaryIO

from batchctl.export.source import Source, line


def write(out: BinaryIO, sources: list[Source]) -> None:
    for source in sources:
        for row in source.rows():
            line(out, json.dumps(row.item, ensure_ascii=False))
