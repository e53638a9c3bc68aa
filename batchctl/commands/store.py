"""`store copy|upgrade|roles`: a store as a whole."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from batchctl import console
from batchctl.commands.common import Globals, confirm, globals_of, one_line
from batchctl.engines.again import SHORT, patiently, snapshot
from batchctl.errors import BatchctlError, InvalidInput, StoreMissing, UsageError
from batchctl.urls import without_password

if TYPE_CHECKING:
    from batchctl.moving import Moved
    from batchctl.store import Store


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The store as a whole: copy it to another one, upgrade it, set up its roles.")
    group.command("copy")(copy)
    group.command("upgrade")(upgrade)
    group.command("roles")(roles)
    app.add_typer(group, name="store")


def copy(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy: a file or a postgresql:// URL.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Where to: a new file, or an empty database.")],
    pause: Annotated[
        bool, typer.Option("--pause", help="Pause all of FROM when TO is complete, so that nobody does its work twice.")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Copy everything from one store into another, empty one, and compare both in the end.

    Refused while anybody works in FROM. TO is whole or empty. The config is not touched: what to change is told.
    """
    from batchctl import moving
    from batchctl.store import Store

    shared = globals_of(ctx)
    shared.whole_store("store copy copies")
    names = without_password(source), without_password(target)
    began = time.monotonic()
    out = patiently(lambda: Store.open(source, create=False), SHORT)
    try:
        confirm(f"copy {names[0]} to {names[1]}?", yes=yes)
        moving.get_ready(out.engine, names[0], max_crashes=_max_crashes(shared))
        into = patiently(lambda: Store.open(target, create=True), SHORT)
        try:
            with console.far("copying") as progress:
                moved = moving.copy(out.engine, into.engine, names, progress)
        finally:
            into.close()
        if pause:
            out.pause_processor("*", None, shared.user)
    finally:
        out.close()
    _tell(shared, moved, names, round((time.monotonic() - began) * 1000), paused=pause)


def _max_crashes(shared: Globals) -> int:
    try:
        return shared.config().worker.max_crashes
    except BatchctlError:  # a store can be copied without a config
        return 3


def _tell(shared: Globals, moved: Moved, names: tuple[str, str], took: int, *, paused: bool) -> None:
    rows = sum(moved.tables.values())
    if shared.json:
        document = {
            "from": names[0],
            "to": names[1],
            "rows": rows,
            "tables": moved.tables,
            "verified": True,
            "unfinished_items": moved.unfinished,
            "replaced_nul": moved.replaced,
            "paused": paused,
            "duration_ms": took,
        }
        console.emit_json(document)
        return
    tables = console.plural(len(moved.tables), "table")
    console.out(f"copied {console.plural(rows, 'row')} of {tables} in {console.span(took)}; both stores hold the same")
    if moved.replaced:
        console.note(f"{console.plural(moved.replaced, 'value')} with a NUL character, which has become a ␀")
    console.note(f"1. set `store: {names[1]}` in the config, on every host")
    if paused:
        console.note(
            f"2. {names[0]} is paused: nobody works there any more. Keep it until you are sure, then delete it"
        )
    elif moved.unfinished:
        items = console.plural(moved.unfinished, "unfinished item")
        console.warn(f"both stores have {items} now: drain only one, or the work is done twice")
        console.note(f"2. let nobody work there any more: batchctl --store {names[0]} pause --all")
    else:
        console.note(f"2. keep {names[0]} until you are sure, then delete it")


def upgrade(ctx: typer.Context) -> None:
    """Bring the store to the version that this batchctl works with.

    A file is brought forward by whatever opens it first. A store on a server waits for this command, because
    programs of other hosts may be older: those stop within seconds of it, and say why.
    """
    from batchctl.engines.statements import migrations
    from batchctl.store import open_engine

    shared = globals_of(ctx)
    shared.whole_store("store upgrade changes the store under")
    engine = patiently(lambda: open_engine(shared.target(), create=False, upgrade=True), SHORT)
    try:
        before = engine.version_before
        alive = len(snapshot(engine, lambda tx: tx.dicts("all_workers")))
    finally:
        engine.close()
    after = migrations("sqlite")[-1][0]
    if shared.json:
        console.emit_json({"store": without_password(shared.target()), "before": before, "after": after})
    elif before == after:
        console.out(f"nothing to do: the store has version {after} already")
    else:
        console.out(f"upgraded from version {before} to {after}")
        if alive:
            console.note(f"{console.plural(alive, 'worker')} that began before will stop: start them again")


def roles(
    ctx: typer.Context,
    rls: Annotated[
        bool | None,
        typer.Option(
            "--rls/--no-rls",
            help="Readers see only the rows of organizations that are given to them, by row level security. "
            "Default: as it is now.",
            show_default=False,
        ),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="ORG", help="Add a reader of this organization; repeatable, means --rls."),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="NAME", help="What the roles' names begin with.")
    ] = "batchctl",
) -> None:
    """Print the SQL that gives a store on PostgreSQL its roles: owner, worker, reader. Nothing is changed.

    Run it with psql as a superuser, and again after each upgrade.
    """
    shared = globals_of(ctx)
    shared.whole_store("store roles is about")
    store = _opened(shared)
    if rls is False and tenant:
        raise UsageError("--tenant needs row level security, and --no-rls takes it away")
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,29}", prefix):
        raise InvalidInput(f"--prefix {prefix!r}: a name of up to 30 lower-case letters, digits and underscores")
    for one in tenant or ():
        one_line(one, "--tenant")
    script = store.engine.upkeep().roles(prefix, rls, tenant or [])
    if shared.json:
        console.emit_json({"sql": script})
    else:
        console.raw(script)


def _opened(shared: Globals) -> Store:
    try:
        return shared.open_store()
    except StoreMissing as error:
        raise StoreMissing(
            error.message, hint="`batchctl init` makes one; its tables are what roles are for"
        ) from error
