"""A worker's claims: when one is worth while and for how many items; the claim itself stands in the worker's commit."""

from __future__ import annotations

import time
from dataclasses import replace

from batchctl import outlook
from batchctl.config import Config
from batchctl.engines.base import Engine, Tx
from batchctl.inhand import InHand
from batchctl.model import Item
from batchctl.store import Claimer, Scope
from batchctl.transitions import steps
from batchctl.workplan import Setup

POLL = 0.25  # seconds between looks at what others changed
_INSTANT = 0.002  # seconds between two claims at the least, where one found too little
_CONTENDED = 0.02  # seconds until it is known what became of items that others were about to claim


class Claims:
    """Knows what the last claim found.

    short     nothing is claimed: the disk is full
    suspects  whether one may wait that has perhaps killed its worker; it is claimed with empty hands only
    """

    def __init__(self, engine: Engine, claimer: Claimer, hand: InHand) -> None:
        self.short = False
        self.suspects = True
        self._engine = engine
        self._claimer = claimer
        self._hand = hand
        self._alone = False
        self._dry_until = 0.0
        self._seen = -1

    def room(self, most: int | None) -> int:
        """How many items to claim now, `most` at the most."""
        if self.short:
            return 0
        if len(self._hand) and (self._alone or self.suspects):
            return 0  # a suspect runs alone, and one that waits needs empty hands
        room = self._hand.room()
        if most is not None:
            room = min(room, most)
        return max(0, room)

    def claim(self, tx: Tx, setup: Setup, room: int, now: int) -> list[Item]:
        """Each item of a chain comes with what its steps have found before."""
        return _with_steps(tx, setup.config, self._claim(tx, setup.scope, room, now))

    def _claim(self, tx: Tx, scope: Scope, room: int, now: int) -> list[Item]:
        if not len(self._hand) and self.suspects:
            suspect = self._claimer.claim_suspect(tx, scope, now)
            if suspect is not None:
                self._alone = True
                return [suspect]
            self.suspects = False
        self._alone = False
        return self._claimer.claim(tx, scope, room, now, self._hand.free)

    def found(self, items: int, room: int, seen: int) -> None:
        """So many were claimed where there was room for more; `seen` is what `engine.changed` said before."""
        self._seen = seen
        self._dry_until = 0.0 if items >= room or self._alone else time.monotonic() + self._pause()

    def _pause(self) -> float:
        """Seconds until a claim is worth while again, after one that found too little."""
        if self._claimer.opens_at is None:
            return _CONTENDED if self._claimer.contended else POLL
        opens = (self._claimer.opens_at - self._engine.now()) / 1000
        return max(_INSTANT, min(_CONTENDED if self._claimer.contended else POLL, opens))

    def again(self) -> None:
        """There may be something now."""
        self._dry_until = 0.0

    def none_for(self, seconds: float) -> None:
        """There is nothing so long, unless others' commits bring it."""
        self._dry_until = time.monotonic() + seconds

    @property
    def dry(self) -> bool:
        """True while a claim would find nothing: the last one did, and nobody has changed anything since."""
        return time.monotonic() < self._dry_until and self._engine.changed() == self._seen

    def facts(self, scope: Scope) -> tuple[outlook.Facts, bool]:
        """(how things stand, whether there is something to claim after all)"""
        with self._engine.read() as tx:
            elsewhere, passed = self._claimer.whereabouts.elsewhere(tx)
            facts = replace(outlook.facts(tx, self._engine.now()), elsewhere=elsewhere)
            return outlook.look_into_lanes(tx, facts, scope, self._claimer.worker_id), passed

    def patience(self, most: int | None) -> float:
        """How long to wait for outcomes, in seconds, before there may be something to claim; `most` as in `room`."""
        if not len(self._hand) and not self.dry:
            return 0.0
        longest = POLL if len(self._hand) else self._engine.poll
        if self.room(most) and self._claimer.opens_at is not None:
            longest = min(longest, max(0.0, self._dry_until - time.monotonic()))
        return longest


def _with_steps(tx: Tx, config: Config, items: list[Item]) -> list[Item]:
    chains = {name for name, one in config.processors.items() if one.kind == "steps"}
    return steps.brought(tx, items, chains) if chains else items
