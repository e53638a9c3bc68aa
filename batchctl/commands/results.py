"""`results`: what came out of a batch."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from batchctl import console
from batchctl.commands.common import globals_of
from batchctl.errors import InvalidInput, UsageError
from batchctl.export import FORMATS, Source, write
from batchctl.views import resolve_batches
from batchctl.views.batches import STATES
from batchctl.views.results import result_rows


def register(app: typer.Typer) -> None:
    app.command("results")(results)


def results(
    ctx: typer.Context,
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="Whose results.")],
    form: Annotated[str | None, typer.Option("--format", metavar="F", help=f"{', '.join(FORMATS)}.")] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write this file, whole or not at all.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only these; default: completed and failed.")
    ] = None,
) -> None:
    """Write a batch's results in input order, to standard output or a file."""
    shared = globals_of(ctx)
    name = _format(form, output, json=shared.json)
    states = _states(status)
    if name == "xlsx" and output in (None, "-") and console.is_terminal(sys.stdout):
        raise InvalidInput("an XLSX file is no text for a terminal", hint="name a file with -o FILE")
    store = shared.existing_store(batch)
    views = shared.views(store)
    with store.engine.read() as tx:
        nos = resolve_batches(tx, batch, shared.organization)
        found = zip(views.batches_of(nos), nos, strict=True)
        sources = [Source(one, partial(result_rows, views, no, states)) for one, no in found]
        with _target(output) as out:
            write(name, out, sources)
    if output not in (None, "-"):
        console.note(f"wrote {output}")


def _format(form: str | None, output: str | None, *, json: bool) -> str:
    """What was asked for, else what the file's name says, else JSON Lines."""
    endings = {".json": "json", ".csv": "csv", ".xlsx": "xlsx", ".md": "markdown", ".xml": "junit"}
    default = "json" if json else endings.get(Path(output or "").suffix.lower(), "jsonl")
    name = form or default
    if name not in FORMATS:
        raise InvalidInput(f"--format: there is no format {name!r}", hint=f"one of {', '.join(FORMATS)}")
    return name


def _states(given: list[str] | None) -> list[str]:
    if not given:
        return ["completed", "failed"]
    words = [word for text in given for word in text.split(",") if word]
    unknown = [word for word in words if word not in (*STATES, "all")]
    if unknown:
        hint = f"one of {', '.join(STATES)} or all"
        raise InvalidInput(f"--status: there is no state {unknown[0]!r}", hint=hint)
    return list(STATES) if "all" in words else words


@contextlib.contextmanager
def _target(output: str | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only when it is complete."""
    if output in (None, "-"):
        if console.is_terminal(sys.stdout):
            yield _Screen()
            return
        console.settings.wrote = True
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(output or ""))
    try:
        if path.exists() and not path.is_file():  # a pipe or a device takes it as it comes
            with path.open("wb") as out:
                yield out
            return
        with _replacing(path) as out:
            yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error


class _Screen(io.BytesIO):
    """A document on its way to a terminal, which is spared the control characters of strangers."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        console.raw(console.safe(self._decoder.decode(bytes(data)), keep="\n\t"))
        return len(data)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as out:
            os.fchmod(fd, path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask())
            yield out
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
