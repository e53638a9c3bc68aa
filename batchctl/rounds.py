"""A worker's rounds: that it lives, what it holds, its processors' gates, what runs, the disk, dead colleagues."""

from __future__ import annotations

import shutil
import time

from batchctl import filing, recovery
from batchctl.config import Config
from batchctl.contact import Contact
from batchctl.engines.base import Engine, Tx
from batchctl.errors import StoreFull
from batchctl.inhand import InHand
from batchctl.membership import Membership
from batchctl.model import Item
from batchctl.store import Claimer
from batchctl.transitions import pacing
from batchctl.transitions.processors import mend_changed
from batchctl.transitions.recording import Settled, store_news
from batchctl.workplan import Setup

_NEWS = 1.0  # seconds between looks at the progress of what runs


class Rounds:
    """Every act is a transaction of its own, through `contact`."""

    def __init__(self, engine: Engine, contact: Contact, member: Membership, hand: InHand) -> None:
        self._engine = engine
        self._contact = contact
        self._member = member
        self._hand = hand
        self._next_news = 0.0

    def begin(self, setup: Setup) -> None:
        """Lanes, rates and gates are in the store what the config says of them."""
        self._contact.keep(lambda: self._begin(setup, anew=False))

    def begin_anew(self, setup: Setup) -> None:
        """The config has changed, and with it what we take."""
        self._contact.keep(lambda: self._begin(setup, anew=True))

    def _begin(self, setup: Setup, *, anew: bool) -> None:
        config, names = setup.config, sorted(setup.scope.processors)
        with self._engine.write(shared=True) as tx:
            pacing.adopt(tx, {name: config.processors[name] for name in setup.scope.processors})
            if anew:
                self._member.describe(tx, self._hand.width, names, config.worker.roots)
            self._mend(tx, config, mark_problems=True)

    def _mend(self, tx: Tx, config: Config, *, mark_problems: bool) -> None:
        mend_changed(tx, config.processors, self._engine.now(), mark_problems=mark_problems)

    def show_life(self, config: Config) -> None:
        """Our heartbeat, and what the store says we hold: what we have lost ends, what we do not know goes back."""
        known, lost, unknown = self._contact.keep(lambda: self._show_life(config))
        self._hand.cancel(lost if known else self._hand.numbers, hand_back=True)
        self._member.release(unknown)

    def _show_life(self, config: Config) -> tuple[bool, set[int], list[tuple[int, int]]]:
        """(we were still known, what we have in hand and have lost, what the store says we hold and we do not know)"""
        begun = time.monotonic()
        with self._engine.write(shared=True) as tx:
            known = self._member.beat(tx)
            lost, unknown = self._member.compare(tx, self._hand.numbers)
            self._mend(tx, config, mark_problems=False)
        self._contact.seen(begun)
        return known, lost, unknown

    def told_to_cancel(self) -> list[int]:
        """Which of our items somebody wants cancelled."""
        return self._contact.keep(self._told)

    def _told(self) -> list[int]:
        with self._engine.read() as tx:
            return self._member.told_to_cancel(tx, self._hand.numbers)

    def store_news(self) -> None:
        """Progress and log of what runs, once a second."""
        if (now := time.monotonic()) < self._next_news:
            return
        self._next_news = now + _NEWS
        news = self._hand.news()
        if news:
            self._contact.keep(lambda: self._tell_news(news))

    def _tell_news(self, news: list[tuple[Item, float | None, str]]) -> None:
        with self._engine.write(shared=True) as tx:
            store_news(tx, self._member.id, news)

    def disk_is_short(self, least: int) -> bool:
        """Whether the store's disk has less than so many bytes left."""
        return shutil.disk_usage(self._engine.private_folder()).free < least

    def recover(self, setup: Setup) -> recovery.Recovered:
        """What the dead have left goes back, or is given up."""
        most = setup.config.worker.max_crashes
        note = filing.given_up(self._engine, setup.config.processors)
        own, org = self._member.id, setup.scope.organization
        return self._contact.keep(lambda: recovery.recover(self._engine, own=own, max_crashes=most, note=note, org=org))

    def concerns(self, setup: Setup, settled: Settled) -> bool:
        """Whether the item's batch is our business."""
        with self._engine.read() as tx:
            batch = tx.one("batch_refs", {"nos": f"[{settled.batch_no}]"})
        return batch is not None and setup.scope.covers(settled.batch_no, batch[7], settled.organization)

    def suspect_waits(self, setup: Setup, claimer: Claimer) -> bool:
        """Whether an item waits that has perhaps killed its worker."""
        return self._contact.keep(lambda: self._suspect_waits(setup, claimer))

    def _suspect_waits(self, setup: Setup, claimer: Claimer) -> bool:
        with self._engine.read() as tx:
            return claimer.suspect_waits(tx, setup.scope)


def too_little_space(least: int) -> StoreFull:
    """The error where the disk stays short and nothing else can be done."""
    return StoreFull(
        f"the store's disk has less than {least / 1_000_000:,.0f} MB left (worker.min_free): nothing more is started",
        hint="free some space, or lower worker.min_free in the config",
    )
