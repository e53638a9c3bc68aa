"""JSON: one array of items, each in the contract's JSON."""

from __future__ import annotations

import json
from typing import BinaryIO

from batchctl.export.source import Source


def write(out: BinaryIO, sources: list[Source]) -> None:
    before = "[\n"
    for source in sources:
        for row in source.rows():
            out.write((before + json.dumps(row.item, ensure_ascii=False)).encode("utf-8", "backslashreplace"))
            before = ",\n"
    out.write(b"[]\n" if before == "[\n" else b"\n]\n")
