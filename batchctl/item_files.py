"""The files of a worker's items: which are on this host, and those whose content comes out of the store."""

from __future__ import annotations

from collections.abc import Iterable

from batchctl import hosts
from batchctl.contact import Contact
from batchctl.engines.base import Engine
from batchctl.model import Item
from batchctl.places import Places
from batchctl.spool import Spool, is_stored
from batchctl.store import Claimer
from batchctl.transitions import contents


class ItemFiles:
    """Reads the store through `contact`; tells `claimer` what lies on other hosts."""

    def __init__(self, engine: Engine, contact: Contact, claimer: Claimer, spool: Spool) -> None:
        self._engine = engine
        self._contact = contact
        self._claimer = claimer
        self._spool = spool

    def fetch(self, item: Item) -> Item:
        """The item with its file on this host. Without content it goes on as it is: then its file is missing. Raises
        OSError."""
        content = self._contact.keep(lambda: self._content(item)) if is_stored(item) else None
        return item if content is None else self._spool.put(item, content)

    def _content(self, item: Item) -> bytes | None:
        with self._engine.read() as tx:
            return contents.content(tx, item.number)

    def drop(self, items: Iterable[Item]) -> None:
        """These are over for us."""
        for item in items:
            if is_stored(item):
                self._spool.drop(item)

    def pass_over(self, items: list[Item]) -> None:
        """These have been given back to other hosts: the next claim looks behind them."""
        self._contact.keep(lambda: self._pass_over(items))

    def _pass_over(self, items: list[Item]) -> None:
        with self._engine.read() as tx:
            self._claimer.whereabouts.leave_alone(tx, items)

    def move(self, places: Places) -> None:
        """From now on what these say is here."""
        self._claimer.whereabouts.places = places
        self._claimer.forget()
        self._contact.keep(self._look)

    def look(self) -> None:
        """Files and folders come and go."""
        if self._claimer.whereabouts.places.judging:
            self._contact.keep(self._look)

    def _look(self) -> None:
        with self._engine.read() as tx:
            self._claimer.look_around(tx)


def places_of(engine: Engine, roots: tuple[str, ...]) -> Places:
    """What this host has, by `worker: roots` or by looking."""
    return Places(hosts.here().name, roots, shared=engine.leased).seen()
