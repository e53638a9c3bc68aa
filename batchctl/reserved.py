"""The names that the store's own tables and indexes have: nobody else's table may be called so."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_CREATED = re.compile(r"CREATE (?:UNIQUE )?(?:TABLE|INDEX|VIEW|SEQUENCE) (?:IF NOT EXISTS )?(\w+)", re.IGNORECASE)
_MIGRATIONS = Path(__file__).parent / "sql"
_SYSTEM = ("sqlite_", "pg_", "batchctl_", "store_")


def is_reserved(table: str) -> bool:
    """Whether a table in the store may not have that name."""
    return table.lower().startswith(_SYSTEM) or table.lower() in _own()


@cache
def _own() -> frozenset[str]:
    scripts = _MIGRATIONS.glob("*/migrations/*.sql")
    return frozenset(name.lower() for path in scripts for name in _CREATED.findall(path.read_text(encoding="utf-8")))
