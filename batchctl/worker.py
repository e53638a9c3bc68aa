"""The claim loop: one process that drains. Claims, hands out, records; heartbeats; stops when it should.

All writes go through the main thread's connection. One transaction records what has ended and claims what comes next.
"""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial

from batchctl import filing, hosts, outlook, recovery
from batchctl.config import Config
from batchctl.contact import Contact
from batchctl.engines.base import Tx
from batchctl.errors import StoreFull, StoreLocked
from batchctl.guarding import Guard, observed
from batchctl.inhand import Ended, InHand, Keeping
from batchctl.interpreter import many_small_things
from batchctl.journal import INFO, NOTICE, enabled, log
from batchctl.membership import Membership
from batchctl.model import Broken, Item, ItemState
from batchctl.places import Places
from batchctl.pool import ProcessorPool
from batchctl.recorder import give_back, settle
from batchctl.service import Service
from batchctl.sinks import Delivery, Parcel, portions
from batchctl.spool import Spool, is_stored
from batchctl.store import Claimer, Scope, Store
from batchctl.transitions import bulk, contents, file_acts, pacing, steps
from batchctl.transitions.adapting import adapt
from batchctl.transitions.outages import Sign, Weighed, weigh
from batchctl.transitions.processors import break_processor, mend_changed
from batchctl.transitions.recording import Settled, record, store_news

_GATHER = 0.025  # seconds that outcomes wait for company, so that a commit serves many
_MOST = 2_000  # outcomes in one commit: keeps the write lock under 200 ms
_POLL = 0.25  # seconds between looks at what others changed
_SOON = 5.0  # seconds between heartbeats at the most
_NEWS = 1.0  # seconds between looks at the progress of what runs
_SLOW = 10.0  # seconds between two starts for which one who only does what is due now waits
_STUBBORN = 60.0  # seconds to try again where outcomes can't be stored
_INSTANT = 0.002  # seconds between two claims at the least, where one found too little
_CONTENDED = 0.02  # seconds until it is known what became of items that others were about to claim
_LAST_WORDS = 10.0  # seconds for what was told to end


class Ending(Enum):
    """Why the worker stopped."""

    DRAINED = "drained"
    HELD = "held"
    BUDGET = "budget"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker goes by, as far as a reload may change it."""

    config: Config
    scope: Scope
    concurrency: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is to do. Times in seconds; None: no bound.

    max_items   claims at most
    no_wait     stop when nothing is due now
    forever     go on when nothing is left
    patient     what runs when max_time is over goes on to its own end, whatever the grace
    on_ended    called in the main thread for each recorded item
    on_waiting  called once where a patient worker has made its last claim and waits for what runs
    service     the supervisor that is told how we are
    reload      SIGHUP calls it and goes on with what it returns (None: as before); without it SIGHUP stops
    """

    scope: Scope
    concurrency: int
    max_time: float | None = None
    grace: float = 30.0
    max_items: int | None = None
    no_wait: bool = False
    forever: bool = False
    patient: bool = False
    on_ended: Callable[[Ended], None] | None = None
    on_waiting: Callable[[], None] | None = None
    service: Service = field(default_factory=Service)
    reload: Callable[[], Setup | None] | None = None


@dataclass(slots=True)
class Tally:
    """What the worker did."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    retried: int = 0
    claimed: int = 0
    recovered: int = 0
    batches: set[int] = field(default_factory=set)

    def add(self, settled: Settled) -> None:
        self.batches.add(settled.batch_no)
        match settled.state:
            case ItemState.COMPLETED:
                self.completed += 1
            case ItemState.FAILED:
                self.failed += 1
            case ItemState.CANCELLED:
                self.cancelled += 1
            case ItemState.WAITING if settled.counted:
                self.retried += 1
            case _:
                pass


def scope_of(
    config: Config,
    *,
    batch_nos: tuple[int, ...] | None = None,
    processor: str | None = None,
    organization: str | None = None,
) -> Scope:
    """What a worker with this config may claim; None: no bound."""
    able = {name: one for name, one in config.processors.items() if not one.problems and processor in (None, name)}
    return Scope(
        processors=frozenset(able),
        limits={name: one.concurrency for name, one in able.items() if one.concurrency is not None},
        batch_nos=batch_nos,
        processor=processor,
        organization=organization,
        paced=frozenset(
            name for name, one in able.items() if one.lane is not None or one.rate is not None or one.adaptive
        ),
        adaptive=frozenset(name for name, one in able.items() if one.adaptive),
    )


class Worker:
    """One `run` or the drain phase of `check`. Use once: `run()`."""

    def __init__(self, store: Store, config: Config, plan: Plan) -> None:
        self.tally = Tally()
        self.signal: int | None = None
        self._engine = store.engine
        self._config = config
        self._plan = plan
        self._scope = plan.scope
        names, roots = sorted(plan.scope.processors), config.worker.roots
        self._member = Membership(store.engine, config.worker.lease, plan.concurrency, names, roots)
        self._pool = ProcessorPool(config, self._member, plan.concurrency)
        self._guard = Guard(self._pool.config)
        self._pool.closed = self._guard.closed
        self._spool = Spool(self._member.folder)
        self._hand = InHand(self._member.inflight, plan.concurrency, self._pool.of, store.engine.now)
        self._claimer = Claimer(store.engine, self._member.id, self._places(config))
        self._delivery = Delivery(store.engine, self._member.id, self._pool)
        self._contact = Contact(
            config.worker.lease if store.engine.leased else None,
            end_work=self._end_work,
            hurried=lambda: self._hurry > 1,
            waiting=plan.service.alive,
        )
        self._kept: set[int] = set()
        self._hurry = 0
        self._hung_up = False
        self._dry_until = 0.0
        self._seen = -1
        self._control = -1
        self._orders = -1
        self._suspects = True
        self._alone = False
        self._stopping = False
        self._weighed: Weighed | None = None
        self._short = False
        self._next_beat = 0.0
        self._next_news = 0.0
        self._deadline = math.inf if plan.max_time is None else time.monotonic() + plan.max_time

    def _places(self, config: Config) -> Places:
        return Places(hosts.here().name, config.worker.roots, shared=self._engine.leased).seen()

    def run(self) -> Ending:
        """Drain until the plan is fulfilled. Raises StoreError where the store stays unusable."""
        previous = {number: signal.signal(number, self._on_signal) for number in _stopping_signals()}
        try:
            with many_small_things(), self._member, self._contact:
                self._join()
                self._ready("worker_started")
                try:
                    return self._loop()
                finally:
                    self._leave()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP and self._plan.reload is not None:
            self._hung_up = True
            self._hand.wake()
            return
        self.signal = self.signal or number
        self._hurry += 1
        self._hand.wake()

    def _join(self) -> None:
        self._recover()
        self._contact.keep(self._mend)

    def _mend(self) -> None:
        with self._engine.write(shared=True) as tx:
            self._adopt_paces(tx)
            mend_changed(tx, self._config.processors, self._engine.now(), mark_problems=True)

    def _adopt_paces(self, tx: Tx) -> None:
        """Lanes and rates are in the store what the config that came last says of them."""
        pacing.adopt(tx, {name: self._config.processors[name] for name in self._scope.processors})

    def _end_work(self) -> None:
        """Others may soon take over what we hold."""
        log(NOTICE, "lease_running_out", worker=self._member.id, running=len(self._hand))
        self._hand.cancel(self._hand.numbers, hand_back=True)

    def _ready(self, event: str) -> None:
        """Say so: to the supervisor, in the log."""
        names = sorted(self._scope.processors)
        log(NOTICE, event, worker=self._member.id, slots=self._hand.width, processors=",".join(names))
        self._plan.service.ready(f"{self._hand.width} slots for {', '.join(names) or 'commands of the queue'}")

    def _reload(self) -> None:
        """What was not started goes back and is claimed under the new config; what runs ends as it began."""
        self._hung_up = False
        self._plan.service.reloading()
        fresh = self._plan.reload() if self._plan.reload is not None else None
        if fresh is not None:
            self._step(self._hand.collect(0.0, 0.0, _MOST), claim=False, back=self._hand.withdraw())
            self._pool.adopt(fresh.config, fresh.concurrency, self._hand.started)
            self._config, self._scope, self._hand.width = fresh.config, fresh.scope, fresh.concurrency
            self._claimer.places = self._places(fresh.config)
            self._claimer.forget()
            self._contact.keep(self._look_for_files)
            self._contact.keep(self._describe)
            self._dry_until = self._next_beat = 0.0
        self._ready("config_kept" if fresh is None else "config_reloaded")

    def _describe(self) -> None:
        with self._engine.write(shared=True) as tx:
            self._adopt_paces(tx)
            names = sorted(self._scope.processors)
            self._member.describe(tx, self._hand.width, names, self._config.worker.roots)
            mend_changed(tx, self._config.processors, self._engine.now(), mark_problems=True)

    def _loop(self) -> Ending:
        while True:
            if self.signal is not None:
                return self._stop(Ending.SIGNAL)
            if self._hung_up:
                self._reload()
            if time.monotonic() >= self._deadline:
                return self._stop(Ending.BUDGET)
            if not len(self._hand) and self._spent():
                return Ending.BUDGET
            ended = self._hand.collect(self._patience(), _GATHER, _MOST)
            self._beat()
            self._step(ended, claim=self.signal is None)
            if not len(self._hand) and (self._short or self._is_dry()) and (ending := self._look_ahead()) is not None:
                return ending

    def _spent(self) -> bool:
        return self._plan.max_items is not None and self.tally.claimed >= self._plan.max_items

    def _step(self, ended: list[Ended], *, claim: bool, back: list[Item] | None = None) -> None:
        """One commit: record what has ended and was given back, claim what there is room for."""
        room = self._room() if claim else 0
        found = self._hand.keepings()
        if not ended and not back and not found and (not room or self._is_dry()):
            return
        *first, parcels = portions(self._delivery.pack(ended))
        for part in first:
            self._step([parcel.ended for parcel in part], claim=False)
        now = self._engine.now()
        settled = [settle(one.ended, self._pool.policy(one.ended.item, one.ended.step)) for one in parcels]
        settled += [give_back(item, now) for item in back or ()]
        signs = self._guard.signs([one.ended for one in parcels], self._ordinary)
        seen = self._engine.changed()  # before: a commit of others after it must not be missed
        ended, recorded, items = self._commit(parcels, settled, signs, found, room, now)
        self._hand.recorded(ended)
        broken = [one for one in ended if isinstance(one.outcome, Broken)]
        for one in found:  # no step begins once we are to stop
            one.then(one.item.number in self._kept and self.signal is None)
        self._note(ended, recorded)
        if any(one.state is ItemState.FAILED for one in recorded):
            self._heed_limits()
        for name in {one.item.processor for one in broken}:
            self._step([], claim=False, back=self._hand.withdraw(name))
            self._pool.retire(name)
        self._heed_outages(now)
        if room:
            self._seen = seen
            self._dry_until = 0.0 if len(items) >= room or self._alone else time.monotonic() + self._pause()
        self._clear(one.item for one in ended)
        self._clear(back or ())
        here, away = self._claimer.sort_out(items)
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
                found = self._with_file(item)
            except OSError as error:
                log(NOTICE, "spool_unusable", worker=self._member.id, error=error.strerror)
                self._short = True  # until we look at the disk again
                self._step([], claim=False, back=items[n:])
                return
            self._hand.give([found], self._engine.now())
            self._plan.service.alive()

    def _with_file(self, item: Item) -> Item:
        """The item with its file on this host. Without content it goes on as it is: then its file is missing."""
        content = self._contact.keep(partial(self._content, item)) if is_stored(item) else None
        return item if content is None else self._spool.put(item, content)

    def _content(self, item: Item) -> bytes | None:
        with self._engine.read() as tx:
            return contents.content(tx, item.number)

    def _clear(self, items: Iterable[Item]) -> None:
        """These are over for us."""
        for item in items:
            if is_stored(item):
                self._spool.drop(item)

    def _leave_to_others(self, items: list[Item]) -> None:
        """Their files are on other hosts: back they go, and the next claim looks behind them."""
        self.tally.claimed -= len(items)
        self._step([], claim=False, back=items)
        self._contact.keep(lambda: self._pass_over(items))
        self._dry_until = 0.0

    def _pass_over(self, items: list[Item]) -> None:
        with self._engine.read() as tx:
            self._claimer.leave_alone(tx, items)

    def _look_for_files(self) -> None:
        with self._engine.read() as tx:
            self._claimer.look_around(tx)

    def _commit(
        self,
        parcels: list[Parcel],
        settled: list[Settled],
        signs: list[Sign],
        found: list[Keeping],
        room: int,
        now: int,
    ) -> tuple[list[Ended], list[Settled], list[Item]]:
        """One transaction, or two where the engine wants that. Outcomes are precious: while the disk is full or the
        store locked, try for a while. Returns the ends as they are now, what was still ours, and what was claimed."""
        stored: tuple[list[Ended], list[Settled]] | None = None

        def commit() -> tuple[list[Ended], list[Settled], list[Item]]:
            nonlocal stored
            with self._delivery.open(parcels if stored is None else ()), self._engine.write(shared=True) as tx:
                done = self._record(tx, parcels, settled, signs, found, now) if stored is None else stored
                if settled and room and stored is None and tx.part():
                    stored = done
                return *done, self._with_steps(tx, self._claim(tx, room, now)) if room else []

        give_up = time.monotonic() + _STUBBORN
        while True:
            try:
                ended, recorded, items = self._contact.keep(commit)
                self.tally.claimed += len(items)
                return ended, recorded, items
            except (StoreLocked, StoreFull):
                if not (settled or found) or time.monotonic() > give_up or self._hurry > 1:
                    raise
                time.sleep(1.0)

    def _record(
        self, tx: Tx, parcels: list[Parcel], settled: list[Settled], signs: list[Sign], found: list[Keeping], now: int
    ) -> tuple[list[Ended], list[Settled]]:
        adapt(tx, observed([one.ended for one in parcels], self._scope.adaptive), now)
        self._weighed = weighed = weigh(tx, settled, signs, now)
        finds = [(one.item.number, one.item.claim_no, one.kept) for one in found]
        self._kept = steps.keep(tx, self._member.id, finds)
        ended = self._delivery.deliver(tx, parcels)
        changed = {n: one for n, one in enumerate(ended) if one is not parcels[n].ended}
        if changed:
            again = {n: settle(one, self._pool.policy(one.item, one.step)) for n, one in changed.items()}
            weighed.settled = [again.get(n, one) for n, one in enumerate(weighed.settled)]
        recorded = record(tx, self._member.id, weighed.settled, now, weighed)
        for one in ended:
            if isinstance(one.outcome, Broken):
                fingerprint = self._pool.fingerprint(one.item)
                whose = one.item.batch.organization or ""
                break_processor(tx, one.item.processor, one.outcome.error, fingerprint, now, whose)
        intents = filing.intents(recorded, (one.item for one in ended), self._pool.config)
        file_acts.intend(tx, intents, file_acts.host_of(self._engine), now)
        return ended, recorded

    def _claim(self, tx: Tx, room: int, now: int) -> list[Item]:
        if not len(self._hand) and self._suspects:
            suspect = self._claimer.claim_suspect(tx, self._scope, now)
            if suspect is not None:
                self._alone = True
                return [suspect]
            self._suspects = False
        self._alone = False
        return self._claimer.claim(tx, self._scope, room, now, self._hand.free)

    def _with_steps(self, tx: Tx, items: list[Item]) -> list[Item]:
        """Each item of a chain with what its steps have found before."""
        chains = {name for name, one in self._config.processors.items() if one.kind == "steps"}
        return steps.brought(tx, items, chains) if chains else items

    def _pause(self) -> float:
        """Seconds until a claim is worth while again, after one that found too little."""
        if self._claimer.opens_at is None:
            return _CONTENDED if self._claimer.contended else _POLL
        opens = (self._claimer.opens_at - self._engine.now()) / 1000
        return max(_INSTANT, min(_CONTENDED if self._claimer.contended else _POLL, opens))

    def _room(self) -> int:
        if self._short:
            return 0
        if len(self._hand) and (self._alone or self._suspects):
            return 0  # a suspect runs alone, and one that waits needs empty hands
        room = self._hand.room()
        if self._plan.max_items is not None:
            room = min(room, self._plan.max_items - self.tally.claimed)
        return max(0, room)

    def _ordinary(self, ended: Ended) -> Settled:
        """What a throttled item becomes where that costs an attempt."""
        return settle(ended, replace(self._pool.policy(ended.item, ended.step), throttles=False))

    def _heed_outages(self, now: int) -> None:
        """Tell of outages that our last commit began or ended; what was not started of their processors goes back."""
        weighed, self._weighed = self._weighed, None
        self._guard.learn(self._claimer.origins, now)
        if weighed is None:
            return
        for origin in weighed.tripped:
            reason = f"{origin.error_type}: {origin.error_message}"
            log(NOTICE, "outage", processor=origin.processor, origin=origin.origin, error=reason)
        for origin in weighed.over:
            log(NOTICE, "outage_over", processor=origin.processor, origin=origin.origin)
        for name in weighed.shut:
            self._step([], claim=False, back=self._hand.withdraw(name))

    def _heed_limits(self) -> None:
        """Where a batch has reached its failure limit: give back what was not started, and begin to cancel the rest."""
        ours = self._scope.organization
        self._stopping = self._contact.keep(lambda: bulk.carry_on(self._engine, 0.0, ours)) or self._stopping
        if self._contact.keep(self._control_number) != self._control:
            self._orders = -1  # also where that was our own commit, which `changed` does not tell of

    def _note(self, ended: list[Ended], recorded: list[Settled]) -> None:
        ours = {(one.item_id, one.claim_no) for one in recorded}
        for settled in recorded:
            self.tally.add(settled)
        if enabled(INFO):
            _tell(ended, recorded)
        if self._plan.on_ended is not None:
            for one in ended:
                if (one.item.number, one.item.claim_no) in ours:
                    self._plan.on_ended(one)

    def _is_dry(self) -> bool:
        """True while a claim would find nothing: the last one did, and nobody has changed anything since."""
        return time.monotonic() < self._dry_until and self._engine.changed() == self._seen

    def _patience(self) -> float:
        """How long the next `collect` may wait, in seconds."""
        if self._stopping or (not len(self._hand) and not self._is_dry()):
            return 0.0
        now = time.monotonic()
        longest = _POLL if len(self._hand) else self._engine.poll
        if self._room() and self._claimer.opens_at is not None:
            longest = min(longest, max(0.0, self._dry_until - now))
        return min(longest, max(0.0, self._deadline - now))

    def _look_ahead(self) -> Ending | None:
        """Nothing in hand and nothing to claim: is the work done, or will there be more?"""
        facts, passed = self._contact.keep(self._facts)
        if passed:
            self._dry_until = 0.0
            return None
        left = outlook.judge(facts, self._scope)
        if self._short and left is outlook.Left.WAIT and not self._plan.forever:
            raise _too_little_space(self._config.worker.min_free)
        if self._plan.forever or (left is outlook.Left.WAIT and (not self._plan.no_wait or self._starts_soon(facts))):
            due = _SOON if facts.next_due is None else (facts.next_due - self._engine.now()) / 1000
            self._dry_until = time.monotonic() + min(_SOON, max(0.01, due))  # others' commits are seen before
            return None
        return Ending.HELD if left is outlook.Left.HELD and not self._plan.no_wait else Ending.DRAINED

    def _starts_soon(self, facts: outlook.Facts) -> bool:
        """Whether work that is due goes on in a moment, at the pace of its rate."""
        return facts.next_start is not None and facts.next_start - self._engine.now() < _SLOW * 1000

    def _facts(self) -> tuple[outlook.Facts, bool]:
        """(how things stand, whether there is something to claim after all)"""
        with self._engine.read() as tx:
            elsewhere, passed = self._claimer.elsewhere(tx)
            return replace(outlook.facts(tx, self._engine.now()), elsewhere=elsewhere), passed

    def _beat(self) -> None:
        """Look for orders; every second store progress; several times a lease show that we live and look around."""
        self._plan.service.alive()
        self._obey()
        if self._stopping:
            ours = self._scope.organization
            self._stopping = self._contact.keep(lambda: bulk.carry_on(self._engine, _POLL, ours))
        now = time.monotonic()
        if now >= self._next_news:
            self._next_news = now + _NEWS
            self._store_news()
        if now >= self._next_beat:
            self._next_beat = now + min(_SOON, self._config.worker.lease / 6)
            self._look_around()

    def _store_news(self) -> None:
        news = self._hand.news()
        if news:
            self._contact.keep(lambda: self._tell_news(news))

    def _tell_news(self, news: list[tuple[Item, float | None, str]]) -> None:
        with self._engine.write(shared=True) as tx:
            store_news(tx, self._member.id, news)

    def _look_around(self) -> None:
        """Our heartbeat, what the store says we hold, our processors' gates, the disk, dead colleagues."""
        known, lost, unknown = self._contact.keep(self._show_life)
        self._hand.cancel(lost if known else self._hand.numbers, hand_back=True)
        self._member.release(unknown)
        self._pool.sweep(self._hand.busy)
        if self._claimer.places.judging:
            self._contact.keep(self._look_for_files)
        self._short = shutil.disk_usage(self._engine.private_folder()).free < self._config.worker.min_free
        self._recover()

    def _show_life(self) -> tuple[bool, set[int], list[tuple[int, int]]]:
        """(we were still known, what we have in hand and have lost, what the store says we hold and we do not know)"""
        begun = time.monotonic()
        with self._engine.write(shared=True) as tx:
            known = self._member.beat(tx)
            lost, unknown = self._member.compare(tx, self._hand.numbers)
            mend_changed(tx, self._config.processors, self._engine.now(), mark_problems=False)
        self._contact.seen(begun)
        return known, lost, unknown

    def _obey(self) -> None:
        """Pauses and cancels of others: give back what was not started, tell what runs."""
        seen = self._engine.changed()
        if seen == self._orders:
            return
        number = self._contact.keep(self._control_number)
        self._orders = seen
        if number == self._control:
            return
        first, self._control = self._control == -1, number
        if first or not len(self._hand):
            return
        self._claimer.forget()
        self._hand.cancel(self._contact.keep(self._told), hand_back=False)
        self._step([], claim=False, back=self._hand.withdraw())
        self._dry_until = 0.0  # what was given back may be claimed again

    def _control_number(self) -> int:
        with self._engine.read() as tx:
            return int(tx.value("control_number"))

    def _told(self) -> list[int]:
        with self._engine.read() as tx:
            return self._member.told_to_cancel(tx, self._hand.numbers)

    def _recover(self) -> None:
        most = self._config.worker.max_crashes
        note = filing.given_up(self._engine, self._config.processors)
        own, org = self._member.id, self._scope.organization
        found = self._contact.keep(
            lambda: recovery.recover(self._engine, own=own, max_crashes=most, note=note, org=org)
        )
        self.tally.recovered += found.items
        for one in found.failed:
            self._count_failed(one)
        if found.items or found.bulk:
            self._dry_until = 0.0
        self._suspects = self._contact.keep(self._suspect_waits)

    def _suspect_waits(self) -> bool:
        with self._engine.read() as tx:
            return self._claimer.suspect_waits(tx, self._scope)

    def _count_failed(self, settled: Settled) -> None:
        """Recovery has given up an item: that is a failure of this run, if its batch is our business."""
        with self._engine.read() as tx:
            batch = tx.one("batch_refs", {"nos": f"[{settled.batch_no}]"})
        if batch is not None and self._scope.covers(settled.batch_no, batch[7], settled.organization):
            self.tally.add(settled)

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
            if not told and (time.monotonic() >= deadline or self._hurry > 1):
                self._hand.cancel(self._hand.numbers, hand_back=True)
                told, deadline = True, time.monotonic() + _LAST_WORDS
            elif told and time.monotonic() >= deadline:
                break
            self._step(self._hand.collect(_POLL, _GATHER, _MOST), claim=False)
            self._beat()
        return ending

    def _wait(self) -> None:
        """Let what runs come to its end, or a signal."""
        if self._plan.on_waiting is not None:
            self._plan.on_waiting()
        while len(self._hand) and self.signal is None:
            self._step(self._hand.collect(_POLL, _GATHER, _MOST), claim=False)
            self._beat()

    def _leave(self) -> None:
        """End what still runs, give back what has no outcome."""
        back = self._hand.abandon()
        self._pool.close()
        ended = self._hand.collect(0.0, 0.0, 1 << 30)
        self._step(ended, claim=False, back=back)
        self._delivery.close()


def _tell(ended: list[Ended], recorded: list[Settled]) -> None:
    """A line for each item that has come to an end."""
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


def _stopping_signals() -> list[signal.Signals]:
    """A terminal that closes is a stop like others, unless `nohup` has us ignore it."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def _too_little_space(least: int) -> StoreFull:
    return StoreFull(
        f"the store's disk has less than {least / 1_000_000:,.0f} MB left (worker.min_free): nothing more is started",
        hint="free some space, or lower worker.min_free in the config",
    )
