"""The alerts that are open now, as remarks below other answers."""

from __future__ import annotations

from batchctl import console
from batchctl.commands.common import Globals
from batchctl.engines.again import snapshot
from batchctl.store import Store


def show_open_alerts(shared: Globals, store: Store) -> None:
    """One line an alert on standard error; of other organizations than the one asked for none."""
    from batchctl.transitions.alerts import open_alerts

    for one in snapshot(store.engine, open_alerts):
        if shared.organization in (None, one.organization):
            console.note(f"alert since {console.when(one.raised_at)}: {one.message}; {one.hint}", style="yellow")
