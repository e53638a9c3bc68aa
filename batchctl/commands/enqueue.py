"""`enqueue files`, `enqueue orders` (also `enqueue records`): work into the queue."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from batchctl.commands import enqueue_flow as flow
from batchctl.commands.common import globals_of
from batchctl.commands.enqueue_options import EnqueueOptions, sharing
from batchctl.commands.enqueue_wanted import WantedFiles, WantedOrders
from batchctl.errors import UsageError

_WORDS = "batchctl.words"


class WithCommand(TyperCommand):
    """Keeps the words after `--`, a command, apart from the paths before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[_WORDS] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND [ARG]...]"]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Put files or orders into the queue.")
    group.command("files", cls=WithCommand)(sharing(files))
    group.command("orders", cls=WithCommand)(sharing(orders))
    group.command("records", cls=WithCommand, help="The same as `enqueue orders`.")(sharing(orders))
    app.add_typer(group, name="enqueue")


def files(
    ctx: typer.Context,
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Files, and with -r folders.")] = None,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Take the files in folders.")] = False,
    pattern: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only names like this, case ignored; may be given again."),
    ] = None,
    min_age: Annotated[
        str | None, typer.Option(metavar="T", help="Leave out what changed in the last 30s, 1m, …")
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Read paths from a list, one a line.")
    ] = None,
    null: Annotated[bool, typer.Option("-0", "--null", help="Paths in the list end with NUL bytes.")] = False,
    store_content: Annotated[
        bool, typer.Option("--store-content", help="Keep the files' content in the store, for hosts that lack them.")
    ] = False,
    content_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With --store-content: the most of a file (10MB).")
    ] = None,
    *,
    options: EnqueueOptions,
) -> int:
    """Put files into the queue, one item a file.

    Words after -- are a command that is run for each file: batchctl enqueue files *.log --run -- gzip -k {}
    """
    if not paths and files_from is None:
        raise UsageError("which files?", hint="name files, folders with -r, or a list with --files-from")
    if null and files_from is None:
        raise UsageError("-0 goes with --files-from")
    wanted = WantedFiles(
        tuple(paths or ()),
        recursive,
        tuple(pattern or ()),
        flow.seconds(min_age, "--min-age") or 0.0,
        files_from,
        null,
        stored=flow.stored_bytes(content_limit, store_content=store_content),
    )
    return flow.enqueue(globals_of(ctx), options, ctx.meta.get(_WORDS), wanted)


def orders(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="CSV, TSV, JSON, JSON Lines or XLSX files; - is standard input."),
    ] = None,
    given_id: Annotated[
        list[str] | None, typer.Option("--id", metavar="X", help='An order {"id": "X"}; may be given again.')
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="FIELD[,FIELD…]", help="What names an order; else key, id, uuid, order_id or its row."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N.")] = None,
    *,
    options: EnqueueOptions,
) -> int:
    """Put orders into the queue, one item a record.

    Words after -- are a command that is run for each order: batchctl enqueue orders o.csv -- ./book {order_no}
    """
    if not sources and not given_id:
        raise UsageError("which orders?", hint="name a file, - for standard input, or --id X")
    if (sources or []).count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    wanted = WantedOrders(tuple(sources or ()), tuple(given_id or ()), key, limit)
    return flow.enqueue(globals_of(ctx), options, ctx.meta.get(_WORDS), wanted)
