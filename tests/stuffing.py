"""Rows in every table that a store has, derived from the schema, so that no table can be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from databases import Database

Columns = dict[str, list[tuple[str, str]]]

# What a made-up row may not have just anything in.
FIXED: dict[str, dict[str, Any]] = {
    "batches": {"kind": "orders", "priority": 1, "status": "processing", "bulk": None, "completed_at": None},
    "items": {"state": "pending", "waiting_for": None, "worker_id": None, "completed_at": None},
    "attempts": {"outcome": "retry"},
    "ready_groups": {"gate": "paused"},
    "outbox": {"state": "due"},
    "control": {"id": 1},
    "file_acts": {"act": "move", "state": "failed"},
}
LEFT_OUT = {"workers"}  # a store with one in it is not copied


def columns_of(database: Database) -> Columns:
    """Of every table that the migrations make."""
    if database.engine == "sqlite":
        sql = (
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c "
            "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
        )
    else:
        sql = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name NOT IN ('store_migrations', 'store_tenants')"
        )
    found: Columns = {}
    for table, column, kind in database.query(sql):
        found.setdefault(table, []).append((column, kind.lower()))
    return found


def content(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, columns by name."""
    found = {}
    for table, columns in columns_of(database).items():
        names = ", ".join(f'"{name}"' for name in sorted(name for name, _ in columns))
        found[table] = sorted(database.query(f'SELECT {names} FROM "{table}"'), key=repr)  # noqa: S608
    return found


def stuff(
    database: Database, rows: int = 3, *, organizations: Sequence[str] = (), without: set[str] = LEFT_OUT
) -> None:
    """Rows in every table; what has the same number belongs together. `organizations`: whose they are."""
    for table, columns in columns_of(database).items():
        if table in without:
            continue
        if table == "control":
            database.change("DELETE FROM control")
        names = ", ".join(f'"{name}"' for name, _ in columns)
        places = ", ".join("?" * len(columns))
        for number in range(1, 2 if table == "control" else rows + 1):
            whose = {"organization": organizations[number - 1]} if organizations else {}
            fixed = FIXED.get(table, {}) | whose
            values = [fixed[name] if name in fixed else made_up(table, kind, number) for name, kind in columns]
            database.change(f'INSERT INTO "{table}" ({names}) VALUES ({places})', *values)  # noqa: S608


def made_up(table: str, kind: str, number: int) -> Any:
    if kind in ("integer", "bigint"):
        return 1_000_000_007 * number if kind == "bigint" else number
    if kind in ("real", "double precision"):
        return 1.25 * number if number > 1 else 3.0
    if kind in ("blob", "bytea"):
        return bytes(range(256)) + bytes([number])
    assert kind == "text", f"{table}: teach this test what a {kind} may hold"
    return f"{table} {number}: ümläut\t\\N \\. \u20ac\n\r'\"{{}}\U0001f600"
