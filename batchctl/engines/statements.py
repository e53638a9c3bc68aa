"""Reads the named statements of one engine from `sql/<engine>/*.sql`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from batchctl.errors import StoreTooNew

_SQL = Path(__file__).parent.parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def statements(engine: str) -> dict[str, str]:
    """All statements of the engine, by name. Raises ValueError where a name stands twice."""
    found: dict[str, str] = {}
    for path in sorted((_SQL / engine).glob("*.sql")):
        parts = _NAME.split(path.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"{path.name}: statement {name} is defined twice")
            found[name] = text.strip().rstrip(";")
    return found


def migrations(engine: str) -> list[tuple[int, str, str]]:
    """(number, name, script) of every migration, in order. Raises ValueError where a number stands twice."""
    folder = _SQL / engine / "migrations"
    found = [
        (int(path.stem.split("_", 1)[0]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.sql"))
    ]
    if len({number for number, _, _ in found}) < len(found):
        raise ValueError(f"{folder}: two migrations have the same number")
    return found


def overtaken(place: str, have: int, known: int) -> StoreTooNew:
    """The error of a program that works on a store which a newer one has brought forward."""
    return StoreTooNew(
        f"{place}: a newer batchctl has upgraded the store meanwhile (to version {have}, this one knows {known})",
        hint="upgrade batchctl on this machine, then start it again",
    )
