"""`check`: all work that is due, for cron and timers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.errors import ConfigError, StoreError, StoreGone, StoreMissing

if TYPE_CHECKING:
    from batchctl.checker import Outcome
    from batchctl.pings import Monitor


def register(app: typer.Typer) -> None:
    app.command("check")(check)


def check(ctx: typer.Context) -> int:
    """Do all work that is due, once: for cron and timers. Silent where nothing is.

    Puts back what dead workers held, finishes interrupted work, drains for at most check.time_budget, sends
    notifications, cleans up, raises alerts, and tells the monitor. Can be called at any time, also beside itself and
    beside `run`. It verifies nothing: that is `batchctl config check` and `batchctl doctor`.

    Exit code: 0 done, or nothing was due, 1 something went wrong, 5 the store cannot be used, 130 or 143 stopped.
    """
    shared = globals_of(ctx)
    begun = time.monotonic()
    shared.start_journal()
    monitor = _monitor(shared)
    shared.be_patient()
    try:
        outcome = _outcome(shared, monitor)
    except StoreError as error:
        monitor.ended(error.code, error.message)
        raise
    if outcome.signal is None and not outcome.skipped:
        monitor.ended(outcome.code, _text(outcome))
    _answer(shared, outcome, round((time.monotonic() - begun) * 1000))
    return outcome.code


def _monitor(shared: Globals) -> Monitor:
    from batchctl.pings import Monitor

    try:
        config = shared.config()
    except ConfigError as error:
        _tell_refused(shared, error)
        raise
    return Monitor(config.check.ping, config.masker, console.warn)


def _tell_refused(shared: Globals, error: ConfigError) -> None:
    """The monitor hears of a config that is refused, where its address can still be read."""
    from batchctl.config import ping_of_refused
    from batchctl.masking import Masker
    from batchctl.pings import Monitor

    ping = ping_of_refused(shared.config_path, shared.environ, shared.cwd)
    Monitor(ping, Masker(), console.warn).ended(error.code, error.message)


def _outcome(shared: Globals, monitor: Monitor) -> Outcome:
    from batchctl import idle_note
    from batchctl.checker import Checker, Outcome

    try:
        store = shared.open_store()
    except StoreMissing:
        _refuse_gone(shared.target())
        monitor.began()
        return Outcome()
    checker = Checker(store, shared.config(), monitor, shared.organization)
    outcome = checker.run()
    if not outcome.skipped:
        idle_note.write(
            store.engine,
            shared.config(),
            outcome.code,
            named_by="given" if shared.store_url else shared.config().store_from,
            nothing_left=checker.at_rest and shared.organization is None,
            unfinished=outcome.processed,
        )
    return outcome


def _refuse_gone(target: str) -> None:
    """Raises StoreGone where a check has been at this store: silence would hide a disk that is not mounted."""
    from batchctl.idle import NOTE

    path = target.removeprefix("sqlite://")
    if "://" not in path and Path(f"{path}.run", NOTE).exists():
        hint = f"put it back (a backup?), or start with an empty one: rm -r {path}.run"
        raise StoreGone(f"the store {path} is gone: what the last check left beside it is still there", hint=hint)


def _answer(shared: Globals, outcome: Outcome, duration_ms: int) -> None:
    if shared.json:
        console.emit_json(outcome.document(duration_ms))
        return
    for error in outcome.errors:
        console.error(error)
    for warning in outcome.warnings:
        console.warn(warning)
    for alert in outcome.raised:
        console.warn(_told(alert))
    if shared.verbose:
        known = [alert for alert in outcome.alerts if alert not in outcome.raised]
        for alert in known:
            console.note(f"still: {alert['message']}; {alert['hint']}", style="yellow")
    if not outcome.idle and (shared.verbose or console.interactive()):
        for alert in outcome.cleared:
            console.note(f"over: {alert['message']}")
        console.note(outcome.message)


def _told(alert: dict[str, Any]) -> str:
    return f"{alert['message']}; {alert['hint']}" if alert["hint"] else str(alert["message"])


def _text(outcome: Outcome) -> str:
    """What the monitor shows with its ping."""
    return "\n".join([outcome.message, *(error.message for error in outcome.errors)])
