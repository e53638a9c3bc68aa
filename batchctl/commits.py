"""A worker's commit: one transaction records what has ended and claims what comes next."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from batchctl import filing
from batchctl.contact import Contact
from batchctl.engines.base import Engine, Tx
from batchctl.errors import StoreFull, StoreLocked
from batchctl.guarding import Guard, observed
from batchctl.journal import INFO, enabled, log
from batchctl.model import Broken, Item
from batchctl.pool import ProcessorPool
from batchctl.recorder import give_back, settle
from batchctl.running import Ended, Keeping
from batchctl.sinks import Delivery, Parcel
from batchctl.transitions import file_acts, steps
from batchctl.transitions.adapting import adapt
from batchctl.transitions.outages import Sign, Weighed, weigh
from batchctl.transitions.processors import break_processor
from batchctl.transitions.recording import Settled, record
from batchctl.workplan import Tally

_STUBBORN = 60.0  # seconds to try again where outcomes can't be stored


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What is to be stored: the ends with their rows, what becomes of each item, what the ends tell of receivers, and
    what steps have found; as of `now` (ms UTC)."""

    parcels: list[Parcel]
    settled: list[Settled]
    signs: list[Sign]
    found: list[Keeping]
    now: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The ends as they are now, what was still ours, whose steps may go on, what it means for receivers."""

    ended: list[Ended]
    recorded: list[Settled]
    kept: set[int]
    weighed: Weighed


class Commits:
    """Makes a worker's commits. `hurried`: whether the user wants no more patience."""

    def __init__(
        self,
        engine: Engine,
        worker_id: str,
        pool: ProcessorPool,
        guard: Guard,
        delivery: Delivery,
        contact: Contact,
        hurried: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._pool = pool
        self._guard = guard
        self._delivery = delivery
        self._contact = contact
        self._hurried = hurried

    def outcomes(self, parcels: list[Parcel], back: list[Item], found: list[Keeping]) -> Outcomes:
        """What these ends come to; `back` are items that are given back."""
        now = self._engine.now()
        settled = [settle(one.ended, self._pool.policy(one.ended.item, one.ended.step)) for one in parcels]
        settled += [give_back(item, now) for item in back]
        signs = self._guard.signs([one.ended for one in parcels], self._ordinary)
        return Outcomes(parcels, settled, signs, found, now)

    def _ordinary(self, ended: Ended) -> Settled:
        """What a throttled item becomes where that costs an attempt."""
        return settle(ended, replace(self._pool.policy(ended.item, ended.step), throttles=False))

    def commit(
        self, outcomes: Outcomes, adaptive: Collection[str], claim: Callable[[Tx], list[Item]] | None
    ) -> tuple[Stored, list[Item]]:
        """One transaction, or two where the engine wants that. Outcomes are precious: while the disk is full or the
        store locked, try for a while. Returns what was stored, and what `claim` (None: no claim) has claimed."""
        stored: Stored | None = None

        def commit() -> tuple[Stored, list[Item]]:
            nonlocal stored
            parcels = outcomes.parcels if stored is None else ()
            with self._delivery.open(parcels), self._engine.write(shared=True) as tx:
                done = self._record(tx, outcomes, adaptive) if stored is None else stored
                if outcomes.settled and claim is not None and stored is None and tx.part():
                    stored = done
                return done, [] if claim is None else claim(tx)

        give_up = time.monotonic() + _STUBBORN
        while True:
            try:
                return self._contact.keep(commit)
            except (StoreLocked, StoreFull):
                precious = outcomes.settled or outcomes.found
                if not precious or time.monotonic() > give_up or self._hurried():
                    raise
                time.sleep(1.0)

    def _record(self, tx: Tx, outcomes: Outcomes, adaptive: Collection[str]) -> Stored:
        parcels, now = outcomes.parcels, outcomes.now
        adapt(tx, observed([one.ended for one in parcels], adaptive), now)
        weighed = weigh(tx, outcomes.settled, outcomes.signs, now)
        finds = [(one.item.number, one.item.claim_no, one.kept) for one in outcomes.found]
        kept = steps.keep(tx, self._worker_id, finds)
        ended = self._delivery.deliver(tx, parcels)
        weighed.settled = self._settled_again(parcels, ended, weighed.settled)
        recorded = record(tx, self._worker_id, weighed.settled, now, weighed)
        self._break(tx, ended, now)
        intents = filing.intents(recorded, (one.item for one in ended), self._pool.config)
        file_acts.intend(tx, intents, file_acts.host_of(self._engine), now)
        return Stored(ended, recorded, kept, weighed)

    def _settled_again(self, parcels: list[Parcel], ended: list[Ended], settled: list[Settled]) -> list[Settled]:
        """The same, but for ends that the delivery has changed."""
        changed = {n: one for n, one in enumerate(ended) if one is not parcels[n].ended}
        if not changed:
            return settled
        again = {n: settle(one, self._pool.policy(one.item, one.step)) for n, one in changed.items()}
        return [again.get(n, one) for n, one in enumerate(settled)]

    def _break(self, tx: Tx, ended: list[Ended], now: int) -> None:
        for one in ended:
            if isinstance(one.outcome, Broken):
                fingerprint = self._pool.fingerprint(one.item)
                whose = one.item.batch.organization or ""
                break_processor(tx, one.item.processor, one.outcome.error, fingerprint, now, whose)


def note(stored: Stored, tally: Tally, on_ended: Callable[[Ended], None] | None) -> None:
    """Count what was recorded, log it, tell who asked."""
    for settled in stored.recorded:
        tally.add(settled)
    if enabled(INFO):
        _tell(stored.ended, stored.recorded)
    if on_ended is not None:
        ours = {(one.item_id, one.claim_no) for one in stored.recorded}
        for one in stored.ended:
            if (one.item.number, one.item.claim_no) in ours:
                on_ended(one)


def _tell(ended: list[Ended], recorded: list[Settled]) -> None:
    """A line of the log for each item that has come to an end."""
    outcomes = {(one.item_id, one.claim_no): one for one in recorded}
    for one in ended:
        settled = outcomes.get((one.item.number, one.item.claim_no))
        if settled is None:
            continue
        word = f"item_{settled.waiting_for or settled.state}"
        seconds = None if one.started_at is None else (one.ended_at - one.started_at) / 1000
        problem = None if settled.error is None else f"{settled.error.type}: {settled.error.message}"
        log(
            INFO,
            word,
            batch=one.item.batch.id,
            item=one.item.number,
            key=one.item.key,
            processor=one.item.processor,
            attempt=one.item.attempt,
            seconds=seconds,
            error=problem,
        )
