"""Draining for every command that does it: `run`, `enqueue --run`, `retry --run`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from batchctl import console, journal
from batchctl.commands.common import Globals
from batchctl.engines.again import again
from batchctl.errors import BatchctlError, InvalidInput

if TYPE_CHECKING:
    from batchctl.config import Config
    from batchctl.model import Failed
    from batchctl.notify import Courier
    from batchctl.porter import Porter
    from batchctl.running import Ended
    from batchctl.service import Service
    from batchctl.store import Scope, Store
    from batchctl.views import Views
    from batchctl.worker import Worker
    from batchctl.workplan import Ending, Setup

Also = Callable[[list[dict[str, Any]]], Mapping[str, Any]]
_TOLD = 5  # problems with messages that are told of at the end
_STOPPED = 128  # a process ended by signal n reports 128 + n


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run`, converted: seconds for times; None means not given.

    print_output   print each item's output whole as it ends, and nothing else on standard output (inline form)
    """

    concurrency: int | None = None
    max_time: float | None = None
    grace: float | None = None
    max_items: int | None = None
    processor: str | None = None
    no_wait: bool = False
    wait_remote: bool = False
    forever: bool = False
    print_output: bool = False


def run_batches(shared: Globals, batch_nos: list[int] | None, options: RunOptions, also: Also | None = None) -> int:
    """Drain these batches (None: everything) with this config, show progress, answer. Returns the exit code.

    `also` makes of the batches as they are then what the JSON answer tells, too: what came before the drain.
    """
    from batchctl.service import Service
    from batchctl.worker import Worker
    from batchctl.workplan import Plan

    begun = time.monotonic()
    service = Service.of(os.environ) if options.forever else Service()
    shared.start_journal(service=options.forever)
    config, store = shared.config(), shared.open_store()
    scope = _scope(config, shared, batch_nos, options)
    plan = Plan(
        scope=scope,
        concurrency=options.concurrency or config.worker.concurrency,
        max_time=options.max_time,
        grace=config.worker.grace if options.grace is None else options.grace,
        max_items=options.max_items,
        no_wait=options.no_wait,
        forever=options.forever,
        on_ended=_print_output if options.print_output else None,
        service=service,
        reload=partial(_reload, shared, store, options) if options.forever and _is_service(service) else None,
    )
    worker = Worker(store, config, plan)
    with _courier(shared, config, options) as courier:
        with _progress(shared, store, batch_nos, options), _porter(shared, config) as porter:
            ending = worker.run()
        if courier is not None:
            courier.end(send_rest=worker.signal is None)
    for problem in courier.total.errors[:_TOLD] if courier is not None else ():
        console.warn(problem)
    for problem in (*porter.total.problems, *porter.total.kept)[:_TOLD] if porter is not None else ():
        console.warn(problem)
    return _answer(shared, store, worker, ending, scope, begun, also)


def _is_service(service: Service) -> bool:
    """Whether SIGHUP means to read the config again: under a supervisor, or where no terminal can be closed."""
    if service.supervised:
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def _reload(shared: Globals, store: Store, options: RunOptions) -> Setup | None:
    """The config as it is now; None where it is refused, and all goes on as before."""
    from batchctl.workplan import Setup

    before = shared.config()
    try:
        config = shared.config_again()
        scope = _scope(config, shared, None, options)
    except BatchctlError as error:
        journal.log(journal.ERROR, "config_refused", error=error.message, details="; ".join(error.details) or None)
        return None
    if config.store != before.store and not shared.store_url:
        journal.log(journal.WARNING, "store_kept", reason="another store takes a restart")
    store.engine.announce_with(shared.announcer())
    worker = replace(config.worker, lease=before.worker.lease)  # the other workers have been told of this one
    return Setup(replace(config, worker=worker), scope, options.concurrency or config.worker.concurrency)


def _courier(shared: Globals, config: Config, options: RunOptions) -> AbstractContextManager[Courier | None]:
    """Who sends messages meanwhile; a service logs its problems as they come, and its config may be read again."""
    if not config.notifications and not options.forever:
        return nullcontext()
    from batchctl.notify import Courier

    log = _log_problem if options.forever else None
    return Courier(shared.another_store, shared.config, log, shared.organization)


def _porter(shared: Globals, config: Config) -> AbstractContextManager[Porter | None]:
    """Who moves the files of items that have ended, where the config wants that of any."""
    if not any(one.after for one in config.processors.values()):
        return nullcontext()
    from batchctl.porter import Porter

    return Porter(shared.another_store, shared.organization)


def _log_problem(text: str) -> None:
    journal.log(journal.WARNING, "notification", error=text)


def _scope(config: Config, shared: Globals, batch_nos: list[int] | None, options: RunOptions) -> Scope:
    from batchctl.workplan import scope_of

    if options.processor is not None and options.processor not in config.processors:
        names = ", ".join(sorted(config.processors)) or "none"
        raise InvalidInput(f"the config has no processor {options.processor!r}", hint=f"it has: {names}")
    return scope_of(
        config,
        batch_nos=None if batch_nos is None else tuple(batch_nos),
        processor=options.processor,
        organization=shared.organization,
    )


def _progress(
    shared: Globals, store: Store, batch_nos: list[int] | None, options: RunOptions
) -> AbstractContextManager[object]:
    from batchctl.commands.live import live_progress

    if options.print_output or options.forever or shared.quiet or shared.verbose:  # a log and bars do not mix
        return nullcontext()
    return live_progress(store.engine.reader, batch_nos, shared.organization)


def _print_output(ended: Ended) -> None:
    """Byte for byte, and once: of an item that failed what its last try wrote."""
    from batchctl.model import Completed, Failed

    outcome = ended.outcome
    if isinstance(outcome, Completed) or (isinstance(outcome, Failed) and _was_last(ended, outcome)):
        console.raw_bytes(outcome.output)
    if not isinstance(outcome, Completed) and (error := getattr(outcome, "error", None)) is not None:
        console.note(f"{ended.item.key}: {error.message}")


def _was_last(ended: Ended, outcome: Failed) -> bool:
    if outcome.error.permanent or ended.item.definition is None:
        return True
    return ended.item.attempt > _retries(ended.item.definition)


@lru_cache(maxsize=16)
def _retries(definition: str) -> int:
    from batchctl.config import inline

    return inline(definition).max_retries


def _answer(
    shared: Globals,
    store: Store,
    worker: Worker,
    ending: Ending,
    scope: Scope,
    begun: float,
    also: Also | None,
) -> int:
    from batchctl.workplan import Ending

    views, tally = shared.views(store), worker.tally
    named = scope.batch_nos is not None
    left = _unfinished(store, scope)
    nos = sorted(scope.batch_nos if scope.batch_nos is not None else tally.batches)
    batches = views.batches_of(nos)
    failed = sum(batch["failed_items"] for batch in batches) if named else tally.failed
    if shared.json:
        console.emit_json(
            {
                "completed": tally.completed,
                "failed": tally.failed,
                "retried": tally.retried,
                "unfinished_items": left,
                "batches": batches,
                "duration_ms": round((time.monotonic() - begun) * 1000),
                **(also(batches) if also else {}),
            }
        )
    else:
        _say(tally.completed, tally.failed, tally.retried, left, batches)
        if ending is Ending.HELD and left:
            _say_what_is_first(views, nos, batches)
            name = batches[0]["id"] if named and len(batches) == 1 else "BATCH"
            console.note(f"see what keeps the rest with `batchctl why {name}`")
    return _code(worker, ending, left, failed)


def _code(worker: Worker, ending: Ending, left: int, failed: int) -> int:
    from batchctl.workplan import Ending

    if ending is Ending.SIGNAL and worker.signal is not None:
        return _STOPPED + worker.signal
    if ending in (Ending.BUDGET, Ending.HELD) and left:
        return 3
    return 1 if failed else 0


def _say(completed: int, failed: int, retried: int, left: int, batches: list[dict[str, Any]]) -> None:
    parts = [f"{console.number(completed)} completed"]
    parts += [f"{console.number(failed)} failed"] if failed else []
    parts += [f"{console.plural(retried, 'retry', 'retries')}"] if retried else []
    parts += [f"{console.plural(left, 'item')} left"] if left else []
    console.note(", ".join(parts))
    if failed:
        command = f"batchctl errors {batches[0]['id']}" if len(batches) == 1 else "batchctl errors"
        console.note(f"see what failed with `{command}`")


def _say_what_is_first(views: Views, nos: list[int], batches: list[dict[str, Any]]) -> None:
    """Batches that nobody here works on keep ours back: which these are."""
    from batchctl.views.lanes import first_in_lanes
    from batchctl.why import behind_others

    for no, batch in zip(nos, batches, strict=True):
        if batch["waiting_items"] and not batch["paused"] and (behind := first_in_lanes(views, no)):
            console.note(behind_others(f"batch {batch['id']}", behind))


@again
def _unfinished(store: Store, scope: Scope) -> int:
    from batchctl import outlook

    with store.engine.read() as tx:
        return outlook.left(outlook.facts(tx), scope)


def nothing_to_run(shared: Globals) -> int:
    """The answer where there is no store."""
    if shared.json:
        empty = {"completed": 0, "failed": 0, "retried": 0, "unfinished_items": 0, "batches": [], "duration_ms": 0}
        console.emit_json(empty)
    return 0
