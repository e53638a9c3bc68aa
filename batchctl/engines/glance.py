"""A look at a SQLite store that costs next to nothing: nothing is made, migrated or written."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

_SQL = os.path.join(os.path.dirname(os.path.dirname(__file__)), "sql", "sqlite")  # noqa: PTH118, PTH120
_MARK = "-- name: "
_BUSY = 1.0  # seconds


def statements(*topics: str) -> dict[str, str]:
    """The named statements of these files."""
    found = {}
    for topic in topics:
        with open(os.path.join(_SQL, f"{topic}.sql"), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            for block in file.read().split(f"\n{_MARK}")[1:]:
                name, _, text = block.partition("\n")
                found[name.strip()] = text.strip().rstrip(";")
    return found


class Glance:
    """Reads one snapshot of the store at `path`. Raises sqlite3.Error where it cannot be read."""

    def __init__(self, path: str, *topics: str) -> None:
        self._statements = statements(*topics)
        escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        self._connection = sqlite3.connect(f"file:{escaped}?mode=rw", uri=True, timeout=_BUSY, isolation_level=None)

    def __enter__(self) -> Glance:
        self._connection.execute("PRAGMA query_only = 1")
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def all(self, name: str, **params: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._statements[name], params).fetchall()

    def true(self, name: str, **params: Any) -> bool:
        return bool(self.all(name, **params)[0][0])

    def version(self) -> int:
        """That of the schema."""
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])
