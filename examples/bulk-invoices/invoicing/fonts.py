"""The typeface of the invoices: Source Sans Pro, from a wheel, so that the machine needs no fonts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import font_source_sans_pro
from fontTools.ttLib import TTFont

_FOLDER = Path(font_source_sans_pro.__file__).parent / "files"
FAMILY = "Source Sans Pro"
REGULAR = _FOLDER / "SourceSansPro-Regular.ttf"
BOLD = _FOLDER / "SourceSansPro-Semibold.ttf"


@cache
def _characters() -> frozenset[int]:
    with TTFont(REGULAR, lazy=True) as font:
        return frozenset(font.getBestCmap())


def unprintable(text: str) -> str:
    """The characters of `text` that the typeface lacks, each once; it has Latin, Greek and Cyrillic."""
    return "".join(dict.fromkeys(character for character in text if ord(character) not in _characters()))
