"""The alerts that are open now, as remarks below other answers."""

from __future__ import annotations

from batchctl import console
from batchctl.commands.common import Globals
from batchctl.store import Store


def show_open_alerts(shared: Globals, store: Store) -> None:
    """One line an alert on standard error; of other organizations than the one asked for none."""
    from batchctl.transitions.alerts import open_alerts

    with store.engine.read() as tx:
        found = open_alerts(tx)
    for one in found:
        if shared.organization in (None, one.organization):
            console.note(f"alert since {console.when(one.raised_at)}: {one.message}; {one.hint}", style="yellow")
