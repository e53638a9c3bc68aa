"""`backup`: a consistent, verified copy of the store while work goes on."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.errors import StoreError, StoreFull, UsageError

_NO_ROOM = (28, 122)  # ENOSPC, EDQUOT


def register(app: typer.Typer) -> None:
    app.command("backup")(backup)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; it must not exist yet.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE once the new copy is complete.")] = False,
) -> None:
    """Copy the whole store to FILE while other commands go on, and check the copy.

    FILE is whole or not there. A SQLite store becomes a SQLite file, a PostgreSQL store an archive of pg_dump.
    """
    shared = globals_of(ctx)
    shared.whole_store("backup copies")
    store = shared.store_or_none()
    if store is None:
        raise StoreError(f"there is no store at {shared.target()} to copy", hint="name it with --store or --config")
    target = Path(os.path.realpath(file))
    _refuse(target, shared.target(), force=force)
    began = time.monotonic()
    with _writing(target, file) as part, console.far("copying") as progress:
        store.engine.upkeep().backup(part, progress)
        part.chmod(0o600)
        size = part.stat().st_size
    took = round((time.monotonic() - began) * 1000)
    if shared.json:
        console.emit_json({"file": str(target), "bytes": size, "verified": True, "duration_ms": took})
    else:
        console.note(f"copied {size / 1_000_000:,.1f} MB to {file} in {console.span(took)}; the copy is sound")


def _refuse(target: Path, store: str, *, force: bool) -> None:
    """Raises UsageError where FILE is no place for a copy."""
    source = Path(store.removeprefix("sqlite://"))
    near = [source.with_name(source.name + suffix) for suffix in ("", "-wal", "-shm")]
    if "://" not in str(source) and any(target == Path(os.path.realpath(path)) for path in near):
        raise UsageError(f"{target} is the store itself", hint="name another file")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is no file", hint="name the file itself, not its folder")
    if target.exists() and not force:
        raise UsageError(f"{target} exists", hint="name another file, or replace it with --force")


@contextlib.contextmanager
def _writing(target: Path, named: Path) -> Iterator[Path]:
    """A file beside FILE that becomes it at the end; nothing stays behind where that fails."""
    part = None
    try:
        fd, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
        os.close(fd)
        part = Path(name)
        yield part
        part.replace(target)
        _sync(target.parent)
        part = None
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"{named}: no space left for the copy", hint="name a file on another disk") from error
        raise UsageError(f"cannot write {named}: {error.strerror or error}") from error
    finally:
        if part is not None:
            for suffix in ("", "-journal", "-wal", "-shm"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """The new name is on the disk, too."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
