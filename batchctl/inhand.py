"""What a worker has in hand: claimed items, given to processors as slots free up, and the outcomes that come back."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from batchctl.alarm import Alarm
from batchctl.errors import BatchctlError
from batchctl.inflight import InFlight
from batchctl.model import Broken, Item, ItemError, Outcome
from batchctl.processors.base import Processor
from batchctl.running import Ended, Keeping, Running, wall_clock

_LOOKAHEAD_SECONDS = 0.1
_FEW = 100  # outcomes that make a commit worth its while
_RATE_WINDOW = 1.0  # seconds
_SHORTEST_WINDOW = 0.01  # seconds
_LOOKAHEAD_MOST = 2_000


class InHand:
    """Items between claim and record. `width` items run at once; what was claimed ahead waits here or at its
    processor. `clock` is the store's, in ms UTC."""

    def __init__(
        self,
        marks: InFlight,
        width: int,
        processor_of: Callable[[Item], Processor],
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.width = width
        self._clock = clock or wall_clock
        self._marks = marks
        self._processor_of = processor_of
        self._ready: deque[Item] = deque()
        self._held: dict[int, Item] = {}
        self._alarm = Alarm()
        self._running: dict[int, Running] = {}
        self._given: Counter[str] = Counter()
        self._unrecorded: set[int] = set()
        self._lock = threading.RLock()
        self._dispatching = False
        self._inbox: SimpleQueue[Ended | None] = SimpleQueue()
        self._keepings: deque[Keeping] = deque()
        self._recent: deque[tuple[float, int]] = deque()
        self._began = time.monotonic()
        self._low = -1
        self._lowered = threading.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._running) + len(self._held)

    @property
    def starving(self) -> bool:
        """True while a slot is free: what is known should be recorded and claimed at once."""
        return len(self._running) < self.width

    @property
    def numbers(self) -> set[int]:
        """The numbers of all items that we answer for: also those that ended and are not recorded yet."""
        with self._lock:
            return self._unrecorded.union(self._running, self._held, (item.number for item in self._ready))

    @property
    def busy(self) -> list[Processor]:
        """The processors that have items, each perhaps several times."""
        with self._lock:
            return [running.processor for running in self._running.values()]

    @property
    def started(self) -> list[Item]:
        """What processors have."""
        with self._lock:
            return [running.item for running in self._running.values()]

    @property
    def free(self) -> int:
        """How many slots are free."""
        return max(0, self.width - len(self))

    def room(self) -> int:
        """How many items to claim now: free slots, and what the last second's rate will start within 100 ms."""
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - _RATE_WINDOW:
            self._recent.popleft()
        window = min(_RATE_WINDOW, max(_SHORTEST_WINDOW, now - self._began))
        ahead = int(sum(count for _, count in self._recent) / window * _LOOKAHEAD_SECONDS)
        return max(0, self.width + min(ahead, _LOOKAHEAD_MOST) - len(self))

    def give(self, items: Iterable[Item], now: int = 0) -> None:
        """Take claimed items and start what there are slots for, each not before its `start_at`; `now` is what the
        store's clock, which that is told by, says."""
        later = []
        with self._lock:
            for item in items:
                if item.start_at is not None and item.start_at > now:
                    self._held[item.number] = item
                    later.append((item.number, time.monotonic() + (item.start_at - now) / 1000))
                else:
                    self._ready.append(item)
        for number, at in later:
            self._alarm.set(at, partial(self._due, number))
        self._dispatch()

    def _due(self, number: int) -> None:
        """The time has come to start it."""
        with self._lock:
            item = self._held.pop(number, None)
            if item is not None:
                self._ready.appendleft(item)
        self._dispatch()

    def _dispatch(self) -> None:
        if not self._ready:
            return
        with self._lock:
            if self._dispatching:  # an item ended while it was being started: the loop below goes on
                return
            self._dispatching = True
            try:
                while self._ready and self._may_give(self._ready[0]):
                    self._start(self._ready.popleft())
            finally:
                self._dispatching = False

    def _start(self, item: Item) -> None:
        try:
            processor = self._processor_of(item)
        except BatchctlError as error:
            broken = Broken(ItemError("NotConfigured", "; ".join([error.message, *error.details])))
            self._unrecorded.add(item.number)
            self._inbox.put(Ended(item, broken, None, self._clock(), ""))
            return
        running = self._running[item.number] = Running(item, processor, self._marks, self._keep, self._clock)
        self._given[item.processor] += 1
        processor.start(item, running, self._done(running))

    def _may_give(self, item: Item) -> bool:
        """A free slot, or a processor that has all the slots anyway and may queue ahead."""
        if item.number in self._running:  # an earlier claim of it, which we have lost, is still ending here
            return False
        return len(self._running) < self.width or (len(self._given) == 1 and item.processor in self._given)

    def _done(self, running: Running) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:
            ended_at = self._clock()
            running.release()
            with self._lock:
                if self._running.pop(running.item.number, None) is None:
                    return
                self._unrecorded.add(running.item.number)
                self._less(running.item.processor)
                low = len(self) <= self._low
            log = running.take_log()
            self._inbox.put(
                Ended(
                    running.item,
                    outcome,
                    running.started_at,
                    ended_at,
                    log,
                    running.step,
                    running.kept,
                    running.answers,
                )
            )
            if low:
                self._lowered.set()
            self._dispatch()

        return done

    def _less(self, processor: str) -> None:
        self._given[processor] -= 1
        if not self._given[processor]:
            del self._given[processor]

    def _keep(self, keeping: Keeping) -> None:
        self._keepings.append(keeping)
        self._lowered.set()
        self._inbox.put(None)

    def keepings(self) -> list[Keeping]:
        """Results of steps that are to be stored now; each is told afterwards."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._keepings.popleft())
        return found

    def wake(self) -> None:
        """End a `collect` that waits. May be called from a signal handler."""
        self._inbox.put(None)

    def collect(self, timeout: float, gather: float, most: int) -> list[Ended]:
        """Outcomes, at most `most`. Waits up to `timeout` s for the first; where only a few came and no slot starves,
        it sleeps `gather` s for more, or until half of what is in hand has ended: to be woken by each would cost the
        interpreter's lock each time."""
        ended: list[Ended] = []
        with suppress(Empty):
            self._take(self._inbox.get(timeout=timeout), ended)
            self._drain(ended, most)
            if len(ended) < _FEW and not self.starving and not self._keepings:
                self._sleep(gather)
                self._drain(ended, most)
        if ended:
            self._note_rate(ended)
        return ended

    def _sleep(self, seconds: float) -> None:
        with self._lock:
            if self.starving:
                return
            self._low = len(self) // 2
            self._lowered.clear()
        self._lowered.wait(seconds)
        self._low = -1

    def _note_rate(self, ended: list[Ended]) -> None:
        now = time.monotonic()
        if not self._recent:  # the rate counts from their first start: a processor may take long to get going
            first = min(one.started_at or one.ended_at for one in ended)
            self._began = now - max(0, ended[-1].ended_at - first) / 1000
        self._recent.append((now, len(ended)))

    def _drain(self, ended: list[Ended], most: int) -> None:
        with suppress(Empty):
            while len(ended) < most:
                self._take(self._inbox.get_nowait(), ended)

    @staticmethod
    def _take(one: Ended | None, ended: list[Ended]) -> None:
        if one is not None:
            ended.append(one)

    def recorded(self, ended: Iterable[Ended]) -> None:
        """These outcomes are in the store."""
        with self._lock:
            self._unrecorded.difference_update(one.item.number for one in ended)

    def withdraw(self, processor: str | None = None) -> list[Item]:
        """Take back every item that was not started, of one processor or of all."""
        with self._lock:
            back = [item for item in (*self._ready, *self._held.values()) if processor in (None, item.processor)]
            self._ready = deque(item for item in self._ready if processor not in (None, item.processor))
            self._held = {n: item for n, item in self._held.items() if processor not in (None, item.processor)}
            at_work = {id(one.processor): one for one in self._running.values()}
        for one in at_work.values():
            if processor in (None, one.item.processor):
                numbers = one.processor.withdraw()  # not under our lock: it may wait for a `done`
                with self._lock:
                    back += [self._forget(number) for number in numbers]
        return back

    def _forget(self, number: int) -> Item:
        running = self._running.pop(number)
        self._less(running.item.processor)
        return running.item

    def cancel(self, numbers: Iterable[int], *, hand_back: bool) -> None:
        """Tell the processors of these items to end them; their outcomes come as usual."""
        for number in numbers:
            with self._lock:
                running = self._running.get(number)
            if running is not None:
                running.processor.cancel(number, hand_back=hand_back)

    def abandon(self) -> list[Item]:
        """Give up on everything; outcomes that still come are dropped."""
        with self._lock:
            items = [running.item for running in self._running.values()] + [*self._ready, *self._held.values()]
            self._running.clear()
            self._ready.clear()
            self._held.clear()
            self._given.clear()
        return items

    def news(self) -> list[tuple[Item, float | None, str]]:
        """Progress and log text of running items since the last call."""
        with self._lock:
            everybody = list(self._running.values())
        found = []
        for running in everybody:
            percent, running.news = running.news, None
            text = running.take_log()
            if percent is not None or text:
                found.append((running.item, percent, text))
        return found
