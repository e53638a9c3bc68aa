"""XLSX: the rows of the first visible sheet. Values keep their types; dates become ISO 8601 text."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec

from batchctl.intake.delimited import column_names
from batchctl.intake.problems import Problems
from batchctl.intake.records import Record


def read(stream: BinaryIO, name: str, problems: Problems, note: Callable[[str], None]) -> Iterator[Record]:
    """Every row below the header as an object, with its row number. Rows without any value are passed over.

    `note` hears which sheet was read where there are several. Bad cells and headers go to `problems`.
    """
    warnings.filterwarnings("ignore", module=r"openpyxl\.")  # about styles and validations, which nobody asked for
    book = _open(stream, name, problems)
    if book is None:
        return
    try:
        sheet = _sheet(book, name, problems, note)
        if sheet is not None:
            yield from _records(sheet, name, problems)
    except Exception as error:  # noqa: BLE001 - the same for what is found broken while rows are read
        problems.add(name, f"is a damaged XLSX file ({type(error).__name__}: {error}); the rest was not read")
    finally:
        book.close()


def _open(stream: BinaryIO, name: str, problems: Problems) -> Any:
    import openpyxl

    try:
        return openpyxl.load_workbook(stream, read_only=True, data_only=True)
    except Exception as error:  # noqa: BLE001 - openpyxl raises whatever the broken part of the file leads to
        problems.add(name, f"is not a readable XLSX file ({type(error).__name__}: {error})")
        return None


def _sheet(book: Any, name: str, problems: Problems, note: Callable[[str], None]) -> Any:
    sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    if not sheets:
        problems.add(name, "has no visible sheet")
        return None
    if len(sheets) > 1:
        note(f"{name}: has {len(sheets)} sheets, read the first one, {sheets[0].title!r}")
    sheets[0].reset_dimensions()  # many programs write a wrong size, and rows would be cut
    return sheets[0]


def _records(sheet: Any, name: str, problems: Problems) -> Iterator[Record]:
    names: list[str] = []
    encode = msgspec.json.encode
    for line, cells in enumerate(sheet.iter_rows(), 1):
        if all(cell.value in (None, "") for cell in cells):
            continue
        if not names:
            names = column_names([_title(cell) for cell in cells], f"{name}:{line}", problems)
            if not names:
                return
            continue
        where = f"{name}:{line}"
        before = problems.count
        values = [_value(cell, where, problems) for cell in cells]
        if any(value not in (None, "") for value in values[len(names) :]):
            problems.add(where, f"has values to the right of the {len(names)} columns that the header names")
        if problems.count == before:
            values += [None] * (len(names) - len(values))
            record = dict(zip(names, values, strict=False))
            yield line, encode(record).decode(), record


def _title(cell: Any) -> str:
    value = cell.value
    if isinstance(value, dt.date | dt.time):
        return str(_iso(value, cell.number_format))
    return "" if value is None else str(value)


def _value(cell: Any, where: str, problems: Problems) -> Any:
    value = cell.value
    if cell.data_type == "e":
        problems.add(where, f"cell {cell.coordinate} holds the error {value}")
        return None
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return _iso(value, cell.number_format)
    return value


def _iso(value: dt.date | dt.time | dt.timedelta, number_format: str) -> str:
    """A cell shown as a date alone has no time; a span of time is `[H]:MM:SS`."""
    from openpyxl.styles.numbers import is_datetime

    if isinstance(value, dt.timedelta):
        seconds = round(value.total_seconds())
        sign = "-" if seconds < 0 else ""
        minutes, second = divmod(abs(seconds), 60)
        return f"{sign}{minutes // 60}:{minutes % 60:02}:{second:02}"
    if isinstance(value, dt.datetime) and value.time() == dt.time(0) and is_datetime(number_format) == "date":
        value = value.date()
    return str(value.isoformat())
