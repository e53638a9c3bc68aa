"""Which commands there are, each imported when it is used, and the global options that all of them take."""

from __future__ import annotations

import copy
import difflib
import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from batchctl import __version__, console
from batchctl.commands.common import Globals
from batchctl.errors import UsageError

# name: (module, panel, what the list of commands says)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("init", "Set up", "Write a commented batchctl.yaml and create the store"),
    "config": ("config", "Set up", "Check, show or describe the config"),
    "schedule": ("schedule", "Set up", "The systemd units or crontab line that run check"),
    "doctor": ("doctor", "Set up", "Look whether all is well, and how to mend what is not"),
    "store": ("store", "Set up", "Copy the store to another one, upgrade it, set up its roles"),
    "enqueue": ("enqueue", "Work", "Put files or orders into the queue"),
    "try": ("try_", "Work", "Do one item now and show everything; stores nothing"),
    "run": ("run", "Work", "Drain the queue"),
    "check": ("check", "Work", "Do all work that is due, once: for cron and timers"),
    "watch": ("watch", "Look", "Live progress of work that other processes do"),
    "list": ("list", "Look", "The batches, newest first"),
    "show": ("show", "Look", "A batch with its items, or an item with its attempts"),
    "find": ("find", "Look", "Items by key or payload field, in all batches"),
    "why": ("why", "Look", "In words why something is not running, or failed"),
    "results": ("results", "Look", "What came out, as jsonl, json, csv, xlsx, markdown or junit"),
    "errors": ("errors", "Look", "Failures grouped by pattern, most frequent first"),
    "logs": ("logs", "Look", "What an item wrote while it ran"),
    "history": ("history", "Look", "The audit trail of a batch or item"),
    "workers": ("workers", "Look", "Who is alive, and what each holds"),
    "stats": ("stats", "Look", "How much waits, how it went, how long it took"),
    "retry": ("retry", "Act", "Send failed items back with fresh attempts"),
    "cancel": ("cancel", "Act", "End a batch or items"),
    "pause": ("pause", "Act", "Stop new claims; what runs may finish"),
    "resume": ("resume", "Act", "Let paused work go on"),
    "set": ("set_", "Act", "Change a batch's priority, name or start time"),
    "cleanup": ("cleanup", "Act", "Delete finished batches past retention, and orphaned files"),
    "backup": ("backup", "Act", "A consistent copy of the store while work goes on"),
    "notify": ("notify", "Act", "Messages to people: test, list, send again"),
}


def take_global(shared: Globals, name: str, value: Any) -> None:
    """Note a global option; the later one wins, -v adds up."""
    if name == "verbose":
        value = shared.verbose + int(value)
    shared.flags[name] = value
    settings = console.settings
    settings.quiet, settings.verbose = shared.quiet, shared.verbose
    settings.json, settings.no_color = shared.json, shared.no_color


def _options(
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Config file (BATCHCTL_CONFIG).")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Store to use (BATCHCTL_STORE).")] = None,
    org: Annotated[str | None, typer.Option(metavar="ORG", help="Only this organization (BATCHCTL_ORG).")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Who acts (BATCHCTL_USER).")] = None,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, metavar="", help="Say more; twice: debug.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and warnings.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text.")] = False,
    log_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Of -v and services: logfmt or json (BATCHCTL_LOG_FORMAT).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The global options, once, for the main command and every other."""


def _taken(ctx: Any, param: Any, value: Any) -> Any:
    if not value or ctx.resilient_parsing:
        return value
    if param.name == "version":
        console.out(f"batchctl {__version__}")
        raise typer.Exit
    take_global(ctx.find_root().obj, param.name, value)
    return value


def _global_params(panel: str | None) -> list[Any]:
    app = typer.Typer(add_completion=False)
    app.command()(_options)
    params: list[Any] = []
    for param in typer.main.get_command(app).params:
        own = copy.copy(param)
        own.expose_value, own.is_eager, own.callback = False, True, _taken
        own.rich_help_panel = panel  # type: ignore[attr-defined]
        own.show_default = False  # type: ignore[attr-defined]
        params.append(own)
    return params


class ReaderLeft(Exception):
    """Whoever read our output had enough. Typer would end the process with 1 if it saw the BrokenPipeError."""


class LazyGroup(TyperGroup):
    """The main command: imports a command's module when it is called for, lists them without."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.params = [*_global_params(None), *self.params]
        self.rich_markup_mode = _markup()
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            _, panel, short = COMMANDS[cmd_name]
            return TyperCommand(cmd_name, help=short, short_help=short, rich_help_panel=panel)
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _loaded(cmd_name)
        return self.commands[cmd_name]

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderLeft from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            hint = f"did you mean `batchctl {near[0]}`?" if near else "`batchctl --help` lists the commands"
            raise UsageError(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)


def _markup() -> Any:
    import sys

    return "rich" if console.fancy(sys.stdout) else None


def _loaded(name: str) -> Any:
    """The command of that name, its module imported, with the global options added."""
    app = typer.Typer(add_completion=False)
    importlib.import_module(f"batchctl.commands.{COMMANDS[name][0]}").register(app)
    command = typer.main.get_group(app).commands[name]
    _share(command)
    return command


def _share(command: Any) -> None:
    command.params = [*command.params, *_global_params("Global options")]
    command.rich_markup_mode = _markup()
    for inner in getattr(command, "commands", {}).values():
        _share(inner)
