"""`run`: drain until what was named, or everything, is finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from batchctl.commands.common import globals_of
from batchctl.commands.drain import RunOptions, nothing_to_run, run_batches
from batchctl.engines.again import again
from batchctl.errors import InvalidInput

if TYPE_CHECKING:
    from batchctl.store import Store


def register(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    ctx: typer.Context,
    batches: Annotated[list[str] | None, typer.Argument(metavar="[BATCH]...", help="Which; default: all.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("-j", "--concurrency", min=1, max=4096, metavar="N", help="Items at once.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Claim nothing more after this time, e.g. 55s.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long running items may go on when the run must stop.")
    ] = None,
    max_items: Annotated[int | None, typer.Option(min=1, metavar="N", help="Start at most N items.")] = None,
    processor: Annotated[
        str | None, typer.Option("-p", "--processor", metavar="P", help="Only items of this processor.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do what is due now, wait for nothing.")] = False,
    wait_remote: Annotated[bool, typer.Option("--wait-remote", help="Wait for remote batches as well.")] = False,
    forever: Annotated[bool, typer.Option("--forever", help="Stay and take what comes: a worker service.")] = False,
) -> int:
    """Drain the queue: do the items that are due, wait for retries, and end when all is finished.

    Exit code: 0 nothing failed, 1 some items failed, 3 work is left, 130 or 143 stopped by a signal.
    """
    shared = globals_of(ctx)
    options = RunOptions(
        concurrency=concurrency,
        max_time=_seconds(max_time, "--max-time"),
        grace=_seconds(grace, "--grace"),
        max_items=max_items,
        processor=processor,
        no_wait=no_wait,
        wait_remote=wait_remote,
        forever=forever,
    )
    if forever and (batches or no_wait):
        raise InvalidInput("--forever takes all that comes: it goes with neither batches nor --no-wait")
    shared.be_patient()
    store = shared.existing_store(batches[0]) if batches else shared.open_store(create=True) if forever else None
    store = store or shared.store_or_none()
    if store is None:
        return nothing_to_run(shared)
    named: list[int] | None = None
    if batches:
        named = _numbers(store, batches, shared.organization)
    return run_batches(shared, named, options)


@again
def _numbers(store: Store, batches: Sequence[str], organization: str | None) -> list[int]:
    from batchctl.views import resolve_batches

    with store.engine.read() as tx:
        return sorted({no for text in batches for no in resolve_batches(tx, text, organization)})


def _seconds(text: str | None, option: str) -> float | None:
    from batchctl.duration import duration

    if text is None:
        return None
    try:
        return duration(text)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from error
