"""`init`: a commented config that runs as it is, its store, and what to type next."""

from __future__ import annotations

import os
import shlex
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.errors import UsageError
from batchctl.urls import without_password

NAME = "batchctl.yaml"


class Example(StrEnum):
    COMMAND = "command"
    HTTP = "http"
    PYTHON = "python"
    GEMINI = "gemini"


# What comes along with each config, and the three commands that use it; {dir} is the folder as typed.
FILES = {
    Example.COMMAND: ("example-letter.txt",),
    Example.HTTP: ("example-orders.csv", "example_server.py"),
    Example.PYTHON: ("example-orders.csv", "example_handlers.py"),
    Example.GEMINI: ("example-letter.txt",),
}
COMMANDS = {
    Example.COMMAND: (
        "batchctl{options} enqueue files {dir}example-letter.txt -p count-words",
        "batchctl{options} run",
        "batchctl{options} results latest",
    ),
    Example.HTTP: (
        "python3 {dir}example_server.py &",
        "batchctl{options} enqueue orders {dir}example-orders.csv -p create-invoice --run",
        "batchctl{options} results latest",
    ),
    Example.PYTHON: (
        "batchctl{options} enqueue orders {dir}example-orders.csv -p price-orders",
        "batchctl{options} run",
        "batchctl{options} results latest --format csv",
    ),
    Example.GEMINI: (
        "batchctl{options} config check",
        "batchctl{options} enqueue files {dir}example-letter.txt -p read-letters",
        "batchctl{options} why latest",
    ),
}


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; made if need be.", show_default=False)
    ] = Path(),
    example: Annotated[Example, typer.Option(help="What its processor does.")] = Example.COMMAND,
) -> None:
    """Write a commented batchctl.yaml and create its store. Nothing is ever overwritten."""
    shared = globals_of(ctx)
    _write_all(shared.cwd / folder, example)
    _create_store(shared, shared.cwd / folder / NAME)
    commands = _next(shared, folder, example)
    if shared.json:
        files = [str(shared.cwd / folder / name) for name in (NAME, *FILES[example])]
        console.emit_json({"config": files[0], "files": files, "next": commands})
        return
    console.note(f"wrote {folder / NAME} and what its example needs: {', '.join(FILES[example])}")
    console.note("next:")
    for command in commands:
        console.out(command)


def _write_all(folder: Path, example: Example) -> None:
    config = folder / NAME
    if config.exists() or config.is_symlink():
        raise UsageError(
            f"{config} is there already, and nothing was changed", hint="`batchctl config check` checks it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES[example]:
            if not (folder / name).exists():
                _write(folder / name, _packaged(name))
        _write(config, _packaged(f"{example}.yaml"))
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _packaged(name: str) -> bytes:
    return resources.files("batchctl").joinpath("templates", name).read_bytes()


def _write(path: Path, content: bytes) -> None:
    """For its owner alone, whatever the umask: a config that others may write would be refused."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _create_store(shared: Globals, config: Path) -> None:
    from batchctl.config import load
    from batchctl.engines.again import SHORT, patiently
    from batchctl.store import Store

    target = shared.store_url or load(config, shared.environ, shared.cwd).store
    patiently(lambda: Store.open(target, create=True), SHORT).close()


def _next(shared: Globals, folder: Path, example: Example) -> list[str]:
    """The commands as they have to be typed here, with the options that lead back to this config and store."""
    elsewhere = (shared.cwd / folder).resolve() != shared.cwd.resolve()
    given: list[tuple[str, Path | str]] = [("--config", folder / NAME)] if elsewhere else []
    if store := shared.flags.get("store"):
        given.append(("--store", without_password(store)))
    options = "".join(f" {name} {shlex.quote(str(value))}" for name, value in given)
    there = shlex.quote(f"{folder}/") if elsewhere else ""
    return [command.format(options=options, dir=there) for command in COMMANDS[example]]
