"""XLSX: one sheet. Text stays text, whatever it begins with: a cell is never a formula."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

from batchctl.errors import InvalidInput
from batchctl.export.columns import columns_of
from batchctl.export.source import Number, Source, cell

if TYPE_CHECKING:
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

_MOST_ROWS = 1_048_576
_LONGEST = 32_767
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_EXACT_DIGITS = 15  # a spreadsheet's numbers are doubles: longer ones would change


def write(out: BinaryIO, sources: list[Source]) -> None:
    from openpyxl import Workbook

    if sum(source.batch["total_items"] for source in sources) >= _MOST_ROWS:
        raise InvalidInput(f"a sheet holds {_MOST_ROWS:,} rows at most", hint="use --format csv")
    columns = columns_of(sources)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("results")
    sheet.append([_text(sheet, title) for title in columns.titles()])
    for source in sources:
        for row in source.rows():
            sheet.append([_cell(sheet, value) for value in columns.values(row)])
    book.save(out)


def _cell(sheet: WriteOnlyWorksheet, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Number) and len(value) <= _EXACT_DIGITS:
        try:
            return float(value) if set(value) & set(".eE") else int(value)
        except ValueError:  # NaN, Infinity
            return _text(sheet, value)
    return _text(sheet, cell(value))


def _text(sheet: WriteOnlyWorksheet, text: str) -> Any:
    from openpyxl.cell import WriteOnlyCell

    safe = _ILLEGAL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    if len(safe) > _LONGEST:
        safe = safe[: _LONGEST - 1] + "…"
    found = WriteOnlyCell(sheet, safe)
    found.data_type = "s"  # "=1+1" would become a formula
    return found
