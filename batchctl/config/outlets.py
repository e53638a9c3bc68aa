"""`into` and `after`: what is looked at beyond their shapes, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchctl.config import problems, secrets
from batchctl.config.report import Report
from batchctl.config.structs import DELETE, After, FileAct, Into
from batchctl.reserved import is_reserved

_OF_TABLES = ("pk", "indexes", "database")
_MOVE = "move:"


def check_into(value: dict[str, Any], path: problems.Path, report: Report) -> None:
    """What the shapes of its keys can't tell."""
    where = problems.dotted(path)
    if ("table" in value) == ("file" in value):
        report.error(path, f"{where} takes either `table` or `file`")
    if "table" in value and "pk" not in value:
        report.error(path, f"`pk` is missing in {where}: a row that comes again replaces the one with the same `pk`")
    for key in _OF_TABLES if "file" in value and "table" not in value else ():
        if key in value:
            report.error((*path, key), f"`{key}` in {where} goes with `table` only", key=True)
    table = value.get("table")
    if isinstance(table, str) and "database" not in value and is_reserved(table):
        report.value_error((*path, "table"), f"`{table}` is a name of the store itself; take another one")
    _check_add(value.get("add"), path, report)


def _check_add(add: Any, path: problems.Path, report: Report) -> None:
    for name, source in add.items() if isinstance(add, dict) else ():
        what = next(filter(None, map(secrets.exposed, secrets.strings(source))), None)
        if what is not None:
            report.error((*path, "add", name), f"{what} may be a secret and would be stored with each row", key=True)


def into(data: Mapping[str, Any] | None, folder: Path) -> Into | None:
    if data is None:
        return None
    return Into(
        table=data.get("table"),
        pk=tuple(data.get("pk", ())),
        add=data.get("add", {}),
        indexes=tuple(tuple(columns) for columns in data.get("indexes", ())),
        database=_path(data.get("database"), folder),
        file=_path(data.get("file"), folder),
    )


def _path(given: str | None, folder: Path) -> Path | None:
    return None if given is None else folder / Path(str(given)).expanduser()


def after(data: Mapping[str, str] | None, folder: Path) -> After | None:
    if not data:
        return None
    return After(*(_act(data.get(state), folder) for state in ("completed", "failed")))


def _act(text: str | None, folder: Path) -> FileAct | None:
    if text is None:
        return None
    return DELETE if text == DELETE else _path(text.removeprefix(_MOVE).strip(), folder)
