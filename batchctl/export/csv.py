"""CSV in UTF-8: the input's columns first and unchanged."""

from __future__ import annotations

import csv
import io
from typing import BinaryIO

from batchctl.export.columns import columns_of
from batchctl.export.source import Source, cell


def write(out: BinaryIO, sources: list[Source]) -> None:
    columns = columns_of(sources)
    text = io.TextIOWrapper(out, "utf-8", "backslashreplace", newline="", write_through=True)
    try:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(columns.titles())
        for source in sources:
            rows.writerows([cell(value) for value in columns.values(row)] for row in source.rows())
    finally:
        text.detach()
