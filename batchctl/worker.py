"""The claim loop: one process that drains. Claims, hands out, records; heartbeats; stops when it should.

All writes go through the main thread's connection. One transaction records what has ended and claims what comes next.
"""

from __future__ import annotations

import math
import time
from functools import partial

from batchctl import outlook
from batchctl.claims import POLL, Claims
from batchctl.commits import Commits, Stored, note
from batchctl.config import Config
from batchctl.contact import Contact
from batchctl.guarding import Guard, tell_outages
from batchctl.inhand import InHand
from batchctl.interpreter import many_small_things
from batchctl.item_files import ItemFiles, places_of
from batchctl.journal import NOTICE, log
from batchctl.membership import Membership
from batchctl.model import Broken, Item, ItemState
from batchctl.orders import Orders
from batchctl.pool import ProcessorPool
from batchctl.rounds import Rounds, too_little_space
from batchctl.running import Ended
from batchctl.signals import Signals
from batchctl.sinks import Delivery, portions
from batchctl.spool import Spool, is_stored
from batchctl.store import Claimer, Store
from batchctl.transitions.outages import Weighed
from batchctl.transitions.whereabouts import Whereabouts
from batchctl.workplan import Ending, Plan, Setup, Tally

_GATHER = 0.025  # seconds that outcomes wait for company, so that a commit serves many
_MOST = 2_000  # outcomes in one commit: keeps the write lock under 200 ms
_SOON = 5.0  # seconds between heartbeats at the most
_LAST_WORDS = 10.0  # seconds for what was told to end


class Worker:
    """One `run` or the drain phase of `check`. Use once: `run()`."""

    def __init__(self, store: Store, config: Config, plan: Plan) -> None:
        self.tally = Tally()
        self._engine = engine = store.engine
        self._plan = plan
        self._setup = Setup(config, plan.scope, plan.concurrency)
        names, roots = sorted(plan.scope.processors), config.worker.roots
        bounds = plan.scope.bounds()
        self._member = Membership(engine, config.worker.lease, plan.concurrency, names, roots, bounds)
        self._pool = ProcessorPool(config, self._member, plan.concurrency)
        self._guard = Guard(self._pool.config)
        self._pool.closed = self._guard.closed
        self._hand = InHand(self._member.inflight, plan.concurrency, self._pool.of, engine.now)
        self._signals = Signals(self._hand.wake, reloads=plan.reload is not None)
        self._contact = Contact(
            config.worker.lease if engine.leased else None,
            end_work=self._end_work,
            hurried=self._hurried,
            waiting=plan.service.alive,
        )
        self._claimer = Claimer(engine, self._member.id, Whereabouts(places_of(engine, roots)))
        self._claims = Claims(engine, self._claimer, self._hand)
        self._delivery = Delivery(engine, self._member.id, self._pool)
        self._commits = Commits(
            engine, self._member.id, self._pool, self._guard, self._delivery, self._contact, self._hurried
        )
        self._files = ItemFiles(engine, self._contact, self._claimer, Spool(self._member.folder))
        self._orders = Orders(engine, self._contact)
        self._rounds = Rounds(engine, self._contact, self._member, self._hand)
        self._next_beat = 0.0
        self._deadline = math.inf if plan.max_time is None else time.monotonic() + plan.max_time

    @property
    def signal(self) -> int | None:
        """The number of the signal that said stop."""
        return self._signals.first

    def run(self) -> Ending:
        """Drain until the plan is fulfilled. Raises StoreError where the store stays unusable."""
        with self._signals, many_small_things(), self._member, self._contact:
            self._recover()
            self._rounds.begin(self._setup)
            self._ready("worker_started")
            try:
                return self._loop()
            finally:
                self._leave()

    def _hurried(self) -> bool:
        return self._signals.hurried

    def _end_work(self) -> None:
        """Others may soon take over what we hold."""
        log(NOTICE, "lease_running_out", worker=self._member.id, running=len(self._hand))
        self._hand.cancel(self._hand.numbers, hand_back=True)

    def _ready(self, event: str) -> None:
        """Say so: to the supervisor, in the log."""
        names = sorted(self._setup.scope.processors)
        log(NOTICE, event, worker=self._member.id, slots=self._hand.width, processors=",".join(names))
        self._plan.service.ready(f"{self._hand.width} slots for {', '.join(names) or 'commands of the queue'}")

    def _reload(self) -> None:
        """What was not started goes back and is claimed under the new config; what runs ends as it began."""
        self._signals.hung_up = False
        self._plan.service.reloading()
        fresh = self._plan.reload() if self._plan.reload is not None else None
        if fresh is not None:
            self._step(self._hand.collect(0.0, 0.0, _MOST), claim=False, back=self._hand.withdraw())
            self._pool.adopt(fresh.config, fresh.concurrency, self._hand.started)
            self._setup, self._hand.width = fresh, fresh.concurrency
            self._files.move(places_of(self._engine, fresh.config.worker.roots))
            self._rounds.begin_anew(fresh)
            self._claims.again()
            self._next_beat = 0.0
        self._ready("config_kept" if fresh is None else "config_reloaded")

    # -- the loop

    def _loop(self) -> Ending:
        while True:
            if self.signal is not None:
                return self._stop(Ending.SIGNAL)
            if self._signals.hung_up:
                self._reload()
            if time.monotonic() >= self._deadline:
                return self._stop(Ending.BUDGET)
            if not len(self._hand) and self._may_claim() == 0:
                return Ending.BUDGET
            ended = self._hand.collect(self._patience(), _GATHER, _MOST)
            self._beat()
            self._step(ended, claim=self.signal is None)
            if len(self._hand) or not (self._claims.short or self._claims.dry):
                continue
            if (ending := self._look_ahead()) is not None:
                return ending

    def _may_claim(self) -> int | None:
        """How many more the plan allows; None: no bound."""
        return None if self._plan.max_items is None else max(0, self._plan.max_items - self.tally.claimed)

    def _patience(self) -> float:
        """How long the next `collect` may wait, in seconds."""
        if self._orders.unfinished:
            return 0.0
        return min(self._claims.patience(self._may_claim()), max(0.0, self._deadline - time.monotonic()))

    def _look_ahead(self) -> Ending | None:
        """Nothing in hand and nothing to claim: is the work done, or will there be more?"""
        facts, passed = self._contact.keep(lambda: self._claims.facts(self._setup.scope))
        if passed:
            self._claims.again()
            return None
        left = outlook.judge(facts, self._setup.scope)
        if self._claims.short and left is outlook.Left.WAIT and not self._plan.forever:
            raise too_little_space(self._setup.config.worker.min_free)
        now = self._engine.now()
        soon = not self._plan.no_wait or outlook.starts_soon(facts, now)
        if self._plan.forever or (left is outlook.Left.WAIT and soon):
            due = _SOON if facts.next_due is None else (facts.next_due - now) / 1000
            self._claims.none_for(min(_SOON, max(0.01, due)))
            return None
        return Ending.HELD if left is outlook.Left.HELD and not self._plan.no_wait else Ending.DRAINED

    # -- a step

    def _step(self, ended: list[Ended], *, claim: bool, back: list[Item] | None = None) -> None:
        """One commit: record what has ended and was given back, claim what there is room for."""
        room = self._claims.room(self._may_claim()) if claim else 0
        found = self._hand.keepings()
        if not ended and not back and not found and (not room or self._claims.dry):
            return
        *first, parcels = portions(self._delivery.pack(ended))
        for part in first:
            self._step([parcel.ended for parcel in part], claim=False)
        outcomes = self._commits.outcomes(parcels, back or [], found)
        take = partial(self._claims.claim, setup=self._setup, room=room, now=outcomes.now) if room else None
        seen = self._engine.changed()  # before: a commit of others after it must not be missed
        stored, items = self._commits.commit(outcomes, self._setup.scope.adaptive, take)
        self.tally.claimed += len(items)
        self._hand.recorded(stored.ended)
        for one in found:  # no step begins once we are to stop
            one.then(one.item.number in stored.kept and self.signal is None)
        note(stored, self.tally, self._plan.on_ended)
        self._draw_conclusions(stored, outcomes.now)
        if room:
            self._claims.found(len(items), room, seen)
        self._files.drop(one.item for one in stored.ended)
        self._files.drop(back or ())
        self._give(items)

    def _draw_conclusions(self, stored: Stored, now: int) -> None:
        """Batches that reached their limit, processors that broke, outages: what was not started there goes back."""
        if any(one.state is ItemState.FAILED for one in stored.recorded):
            self._orders.heed_limits(self._setup.scope.organization)
        for name in {one.item.processor for one in stored.ended if isinstance(one.outcome, Broken)}:
            self._step([], claim=False, back=self._hand.withdraw(name))
            self._pool.retire(name)
        self._heed_outages(stored.weighed, now)

    def _heed_outages(self, weighed: Weighed | None, now: int) -> None:
        """Tell of outages that our last commit began or ended; what was not started of their processors goes back."""
        self._guard.learn(self._claimer.origins, now)
        if weighed is None:
            return
        tell_outages(weighed)
        for name in weighed.shut:
            self._step([], claim=False, back=self._hand.withdraw(name))

    def _give(self, items: list[Item]) -> None:
        """Hand them out, but for those whose files are on other hosts."""
        here, away = self._claimer.whereabouts.sort_out(items)
        if any(is_stored(item) for item in here):
            self._give_stored(here)
        else:
            self._hand.give(here, self._engine.now())
        if away:
            self._leave_to_others(away)

    def _give_stored(self, items: list[Item]) -> None:
        """Some of these files come out of the store. Each starts as soon as it is there."""
        for n, item in enumerate(items):
            try:
                found = self._files.fetch(item)
            except OSError as error:
                log(NOTICE, "spool_unusable", worker=self._member.id, error=error.strerror)
                self._claims.short = True  # until we look at the disk again
                self._step([], claim=False, back=items[n:])
                return
            self._hand.give([found], self._engine.now())
            self._plan.service.alive()

    def _leave_to_others(self, items: list[Item]) -> None:
        """Their files are on other hosts: back they go, and the next claim looks behind them."""
        self.tally.claimed -= len(items)
        self._step([], claim=False, back=items)
        self._files.pass_over(items)
        self._claims.again()

    # -- beside the work

    def _beat(self) -> None:
        """Look for orders; every second store progress; several times a lease show that we live and look around."""
        self._plan.service.alive()
        self._obey()
        self._orders.carry_on(POLL, self._setup.scope.organization)
        self._rounds.store_news()
        if (now := time.monotonic()) >= self._next_beat:
            self._next_beat = now + min(_SOON, self._setup.config.worker.lease / 6)
            self._look_around()

    def _obey(self) -> None:
        """Pauses and cancels of others: give back what was not started, tell what runs."""
        if not self._orders.are_new() or not len(self._hand):
            return
        self._claimer.forget()
        self._hand.cancel(self._rounds.told_to_cancel(), hand_back=False)
        self._step([], claim=False, back=self._hand.withdraw())
        self._claims.again()  # what was given back may be claimed again

    def _look_around(self) -> None:
        """Our heartbeat, what the store says we hold, our processors' gates, the disk, dead colleagues."""
        config = self._setup.config
        self._rounds.show_life(config)
        self._pool.sweep(self._hand.busy)
        self._files.look()
        self._claims.short = self._rounds.disk_is_short(config.worker.min_free)
        self._recover()

    def _recover(self) -> None:
        found = self._rounds.recover(self._setup)
        self.tally.recovered += found.items
        for one in found.failed:
            if self._rounds.concerns(self._setup, one):  # given up: that is a failure of this run
                self.tally.add(one)
        if found.items or found.bulk:
            self._claims.again()
        waits = self._rounds.suspect_waits(self._setup, self._claimer)
        if waits and not self._claims.suspects:
            self._claims.again()  # what kept it back may have ended by what we did ourselves: an outage
        self._claims.suspects = waits

    # -- the end

    def _stop(self, ending: Ending) -> Ending:
        """No more claims; what runs has the grace, then it goes back; a second signal ends it at once."""
        if self.signal is not None:
            self._plan.service.stopping()
        log(NOTICE, "worker_stopping", worker=self._member.id, signal=self.signal, running=len(self._hand))
        self._step([], claim=False, back=self._hand.withdraw())
        if ending is Ending.BUDGET and self._plan.patient:
            self._wait()
            ending = Ending.BUDGET if self.signal is None else Ending.SIGNAL
        deadline = time.monotonic() + self._plan.grace
        told = False
        while len(self._hand):
            if not told and (time.monotonic() >= deadline or self._signals.hurried):
                self._hand.cancel(self._hand.numbers, hand_back=True)
                told, deadline = True, time.monotonic() + _LAST_WORDS
            elif told and time.monotonic() >= deadline:
                break
            self._step(self._hand.collect(POLL, _GATHER, _MOST), claim=False)
            self._beat()
        return ending

    def _wait(self) -> None:
        """Let what runs come to its end, or a signal."""
        if self._plan.on_waiting is not None:
            self._plan.on_waiting()
        while len(self._hand) and self.signal is None:
            self._step(self._hand.collect(POLL, _GATHER, _MOST), claim=False)
            self._beat()

    def _leave(self) -> None:
        """End what still runs, give back what has no outcome."""
        back = self._hand.abandon()
        self._pool.close()
        ended = self._hand.collect(0.0, 0.0, 1 << 30)
        self._step(ended, claim=False, back=back)
        self._delivery.close()
