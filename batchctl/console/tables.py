"""Tables: coloured on a terminal, aligned plain text elsewhere; columns give way on a narrow screen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchctl.console.settings import fancy, settings, width
from batchctl.console.text import safe, shorten

_GAP = 2
_LEAST = 12  # a column that may give way keeps this many characters


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    rank      on a narrow screen the columns with the highest rank are left out first; rank 0 always stays
    gives     whether its cells may be shortened to fit
    style     the rich style of a cell's text, None for none
    """

    title: str
    right: bool = False
    rank: int = 0
    gives: bool = False
    style: Callable[[str], str | None] | None = None


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print the rows under their titles to standard output."""
    cells = [[safe("-" if cell is None or cell == "" else str(cell)) for cell in row] for row in rows]
    settings.wrote = True
    screen = width(sys.stdout)
    shown, wide = layout(columns, cells, screen)
    chosen = [columns[i] for i in shown]
    lines = [[columns[i].title.upper() for i in shown]] + [[row[i] for i in shown] for row in cells]
    if screen is not None:
        lines = [[_fitted(cell, size) for cell, size in zip(line, wide, strict=True)] for line in lines]
    if fancy(sys.stdout):
        _coloured(chosen, lines, wide)
        return
    for line in lines:
        sys.stdout.write(_padded(chosen, line, wide).rstrip() + "\n")


def layout(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], screen: int | None
) -> tuple[list[int], list[int]]:
    """Which columns fit into `screen` characters (None: all), by index, and how wide each is."""
    natural = [
        max([cell_width(column.title), *(cell_width(row[i]) for row in cells)]) for i, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if screen is None:
        return shown, natural
    while _least(columns, natural, shown) > screen and any(columns[i].rank for i in shown):
        shown.remove(max(shown, key=lambda i: (columns[i].rank, i)))
    return shown, _shrunk(columns, natural, shown, screen)


def _least(columns: Sequence[Column], natural: Sequence[int], shown: Sequence[int]) -> int:
    sizes = [min(natural[i], _LEAST) if columns[i].gives else natural[i] for i in shown]
    return sum(sizes) + _GAP * (len(sizes) - 1)


def _shrunk(columns: Sequence[Column], natural: Sequence[int], shown: Sequence[int], screen: int) -> list[int]:
    wide = [natural[i] for i in shown]
    over = sum(wide) + _GAP * (len(wide) - 1) - screen
    while over > 0:
        giving = [at for at, i in enumerate(shown) if columns[i].gives and wide[at] > _LEAST]
        if not giving:
            break
        widest = max(giving, key=lambda at: wide[at])
        wide[widest] -= 1
        over -= 1
    return wide


def cell_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _fitted(text: str, size: int) -> str:
    if text.isascii() or cell_width(text) <= size:
        return shorten(text, size)
    from rich.cells import set_cell_size

    return set_cell_size(text, size - 1) + "…"


def _pad(text: str, size: int, *, right: bool) -> str:
    blank = " " * max(0, size - cell_width(text))
    return blank + text if right else text + blank


def _padded(columns: Sequence[Column], line: Sequence[str], wide: Sequence[int]) -> str:
    parts = zip(columns, line, wide, strict=True)
    return (" " * _GAP).join(_pad(cell, size, right=column.right) for column, cell, size in parts)


def _coloured(columns: Sequence[Column], lines: Sequence[Sequence[str]], wide: Sequence[int]) -> None:
    from rich.console import Console
    from rich.text import Text

    screen = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for at, line in enumerate(lines):
        text = Text()
        for place, (column, cell, size) in enumerate(zip(columns, line, wide, strict=True)):
            style = "bold" if at == 0 else (column.style(cell) if column.style else None)
            text.append(_pad(cell, size, right=column.right), style or "")
            text.append(" " * _GAP if place < len(columns) - 1 else "")
        text.rstrip()
        screen.print(text)
