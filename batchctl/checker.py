"""`check`: one pass over all work that is due, in guarded phases. Safe beside itself and beside any worker.

Two locks, which a `kill -9` frees. Who has the first goes through the phases; who has the second drains. A budget ends
claims and never work: while what runs goes on, the first lock is given back, and later checks do the other phases.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from batchctl import alerting, filing, hosts, idle, journal, recovery
from batchctl.config import Config, inline
from batchctl.engines.again import again
from batchctl.engines.base import Presence
from batchctl.errors import BatchctlError
from batchctl.pings import Monitor
from batchctl.store import Store
from batchctl.transitions import lanes
from batchctl.transitions.alerts import Open
from batchctl.transitions.processors import mend_changed
from batchctl.transitions.recording import change_counts
from batchctl.views.times import iso
from batchctl.worker import Worker
from batchctl.workplan import Ending, Plan, Tally, scope_of

PHASES = "check"
DRAIN = "drain"
_LATE = 60.0  # seconds beyond budget and timeouts after which a check is overdue
_MORE = 10.0  # seconds that sending and cleaning have where the drain has used up the time budget


@dataclass(slots=True)
class Outcome:
    """What one check did.

    skipped   why it left the work to another check
    errors    what went wrong, one for each phase that failed
    warnings  what went wrong with what is tried again: messages that could not be sent, files that could not be moved
    files     how many were moved or deleted
    signal    the number of the signal that stopped it
    """

    processed: int = 0
    ended: int = 0
    recovered: int = 0
    drained: Tally = field(default_factory=Tally)
    sent: int = 0
    unsent: int = 0
    files: int = 0
    deleted: int = 0
    alerts: list[dict[str, Any]] = field(default_factory=list)
    raised: list[dict[str, Any]] = field(default_factory=list)
    cleared: list[dict[str, Any]] = field(default_factory=list)
    skipped: str | None = None
    errors: list[BatchctlError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    signal: int | None = None

    @property
    def code(self) -> int:
        """The exit code of the contract; items that failed are no failure of the check."""
        codes = {error.code for error in self.errors}
        if 5 in codes:
            return 5
        if self.signal is not None:
            return 128 + self.signal
        return 1 if codes else 0

    @property
    def idle(self) -> bool:
        """Nothing was due, and nothing is wrong."""
        return self == Outcome(processed=self.processed)

    @property
    def message(self) -> str:
        if self.skipped:
            return self.skipped
        batches = "1 batch" if self.processed == 1 else f"{self.processed:,} batches"
        return f"Processed {batches}, {self.ended:,} newly completed" if self.processed else idle.NOTHING

    def document(self, duration_ms: int) -> dict[str, Any]:
        """The contract's JSON."""
        tally = self.drained
        return idle.document(duration_ms) | {
            "success": not self.errors and self.signal is None,
            "processed_batches": self.processed,
            "completed_batches": self.ended,
            "message": self.message,
            "recovered_items": self.recovered,
            "drained": {"completed": tally.completed, "failed": tally.failed, "retried": tally.retried},
            "notifications": {"sent": self.sent, "failed": self.unsent},
            "deleted_batches": self.deleted,
            "alerts": self.alerts,
            "skipped": self.skipped,
            "errors": [{"type": error.type, "message": error.message} for error in self.errors],
        }


class Checker:
    """One pass. Use once: `run()`."""

    def __init__(self, store: Store, config: Config, monitor: Monitor, organization: str | None = None) -> None:
        self.outcome = Outcome()
        self._store = store
        self._engine = store.engine
        self._config = config
        self._monitor = monitor
        self._organization = organization
        self._turn: Presence | None = None
        self._whole = False
        self._deadline = time.monotonic() + config.check.time_budget
        self._began = json.dumps(
            {
                "pid": os.getpid(),
                "began": hosts.monotonic_ms(),
                "at": self._engine.now(),
                "budget": config.check.time_budget,
            }
        )

    def run(self) -> Outcome:
        """Go through the phases, unless another check does. Raises StoreError where the store cannot be read at all."""
        if not self._take_turn():
            self._beside(PHASES)
            return self.outcome
        try:
            self._monitor.began()
            self._pass()
        finally:
            self._give_turn()
        return self.outcome

    @property
    def at_rest(self) -> bool:
        """It did all of a pass, and had nothing to do."""
        return self._whole and self.outcome.idle

    def _phases(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        """In the contract's order. Remote batches are polled, ingested and submitted before the drain."""
        return (
            ("recover", self._recover),
            ("interrupted work", self._finish_bulk),
            ("drain", self._drain),
            ("files", self._carry),
            ("batches", self._finish_batches),
            ("notifications", self._notify),
            ("cleanup", self._clean),
            ("alerts", self._alert),
        )

    def _pass(self) -> None:
        before = self._unfinished()
        self.outcome.processed = len(before)
        for name, phase in self._phases():
            if not self._take_turn():  # given back while items ran; another check has it now and does the rest
                journal.log(journal.INFO, "left", phase=name)
                break
            self._guarded(name, phase)
            if self.outcome.signal is not None:
                break
        else:
            self._whole = True
        with suppress(BatchctlError):
            self.outcome.ended = len((before | self.outcome.drained.batches) - self._unfinished())

    def _guarded(self, name: str, phase: Callable[[], None]) -> None:
        """A phase that fails is told of and stops no other."""
        journal.log(journal.INFO, "phase", name=name)
        try:
            phase()
        except BatchctlError as error:
            self._failed(name, error)
        except Exception as error:  # noqa: BLE001 - the other phases are owed their turn
            journal.log(journal.DEBUG, "fault", phase=name, trace="".join(traceback.format_exception(error)))
            text = self._config.masker(f"internal error: {type(error).__name__}: {error}")
            hint = "this is a fault in batchctl; `batchctl check -vv` says more"
            self._failed(name, BatchctlError(text, hint=hint))

    def _failed(self, name: str, error: BatchctlError) -> None:
        if not any(str(error) in known.message for known in self.outcome.errors):  # one full disk is told once
            error.message = f"{name}: {error.message}"
            self.outcome.errors.append(error)
        journal.log(journal.INFO, "failed", phase=name, error=error.message)

    # -- whose turn it is

    def _take_turn(self) -> bool:
        if self._turn is None:
            self._turn = self._engine.take(PHASES, self._began)
        return self._turn is not None

    def _give_turn(self) -> None:
        if self._turn is not None:
            self._turn.leave()
            self._turn = None

    def _beside(self, lock: str) -> None:
        """Another check has the lock: that is as it should be, unless it is overdue."""
        facts = _facts(self._engine.holder(lock))
        if facts is None:
            self.outcome.skipped = "another check has just ended" if lock == PHASES else None
            return
        age = (hosts.monotonic_ms() - facts["began"]) / 1000
        what = f"another check (pid {facts['pid']}) has been at it for {_span(age)}"
        if age <= facts["budget"] + self._longest_timeout() + _LATE:
            if lock == PHASES:
                self.outcome.skipped = what
            journal.log(journal.INFO, "beside", lock=lock, pid=facts["pid"], age=age)
            return
        hint = "see what it does with `batchctl workers`; if it hangs, kill it: what it holds goes back to the queue"
        error = BatchctlError(f"{what}, longer than its budget and its items' timeouts allow", hint=hint)
        self.outcome.errors.append(error)

    @again
    def _longest_timeout(self) -> float:
        """Of what runs at this moment, in seconds."""
        with self._engine.read() as tx:
            running = tx.all("running_processors")
        return max((self._timeout(name, definition) for name, definition in running), default=0.0)

    def _timeout(self, name: str, definition: str | None) -> float:
        known = inline(definition) if definition else self._config.processors.get(name)
        return known.timeout if known is not None else 0.0

    # -- the phases

    @again
    def _unfinished(self) -> set[int]:
        with self._engine.read() as tx:
            return {no for (no,) in tx.all("unfinished_batches", {"org": self._organization})}

    def _recover(self) -> None:
        most, note = self._config.worker.max_crashes, filing.given_up(self._engine, self._config.processors)
        found = recovery.recover_workers(self._engine, own=None, max_crashes=most, note=note, org=self._organization)
        self.outcome.recovered += found.items
        for one in found.failed:
            self.outcome.drained.add(one)
        if found.workers:
            journal.log(journal.INFO, "recovered", workers=found.workers, items=found.items)

    def _finish_bulk(self) -> None:
        loads, acts = recovery.finish_interrupted(self._engine, org=self._organization)
        recovery.tidy(self._engine)
        stuck = lanes.catch_up_all(self._engine)
        if stuck:
            journal.log(journal.WARNING, "lanes_freed", lanes=stuck)
        if loads or acts:
            journal.log(journal.INFO, "finished", loads=loads, acts=acts)

    def _drain(self) -> None:
        if not self.outcome.processed:
            return
        drain = self._engine.take(DRAIN, self._began)
        if drain is None:
            self._beside(DRAIN)
            return
        try:
            if self._work_is_due():
                self._work()
        finally:
            drain.leave()

    @again
    def _work_is_due(self) -> bool:
        """With gates brought up to date first: a processor may have been mended, or broken, in the config."""
        now = self._engine.now()
        with self._engine.write() as tx:
            mend_changed(tx, self._config.processors, now, mark_problems=True)
            return bool(tx.value("due_work", {"now": now}))

    def _work(self) -> None:
        plan = Plan(
            scope=scope_of(self._config, organization=self._organization),
            concurrency=self._config.worker.concurrency,
            max_time=self._config.check.time_budget,
            grace=self._config.worker.grace,
            no_wait=True,
            patient=True,
            on_waiting=self._give_turn,
        )
        worker = Worker(self._store, self._config, plan)
        try:
            ending = worker.run()
        finally:
            self._count(worker.tally)
        if ending is Ending.SIGNAL:
            self.outcome.signal = worker.signal
        done = worker.tally
        journal.log(journal.INFO, "drained", completed=done.completed, failed=done.failed, retried=done.retried)

    def _count(self, tally: Tally) -> None:
        mine = self.outcome.drained
        mine.completed += tally.completed
        mine.failed += tally.failed
        mine.cancelled += tally.cancelled
        mine.retried += tally.retried
        mine.batches |= tally.batches
        self.outcome.recovered += tally.recovered

    def _carry(self) -> None:
        """Files of items that have ended go where `after` says."""
        from batchctl.porter import carry

        came = carry(self._engine, deadline=self._soon(), org=self._organization)
        self.outcome.files += came.done
        self.outcome.warnings += [*came.problems, *came.kept]

    def _finish_batches(self) -> None:
        """The end of a batch is part of the commit that records its last item; this is for what should never be."""
        for no in self._to_end():
            self._finish_batch(no)
            journal.log(journal.WARNING, "batch_ended", number=no)

    @again
    def _to_end(self) -> list[int]:
        with self._engine.read() as tx:
            return [no for (no,) in tx.all("batches_to_end", {"org": self._organization})]

    @again
    def _finish_batch(self, no: int) -> None:
        with self._engine.write() as tx:
            change_counts(tx, no, Counter(), self._engine.now())

    def _notify(self) -> None:
        from batchctl.notify import send_due

        sending = send_due(self._store, self._config, deadline=self._soon(), org=self._organization)
        self.outcome.sent += sending.sent
        self.outcome.unsent += sending.failed + sending.dead
        self.outcome.warnings += sending.errors

    def _clean(self) -> None:
        from batchctl.retention import clean

        done = clean(self._store, self._config, deadline=self._soon(), org=self._organization)
        self.outcome.deleted = done.batches

    def _soon(self) -> float:
        """Until when a phase may begin something more, by the monotonic clock: not much longer than the time budget."""
        return max(self._deadline, time.monotonic() + _MORE)

    def _alert(self) -> None:
        changes = alerting.look(self._engine, self._config, self._organization)
        self.outcome.alerts = [_shown(one) for one in changes.open]
        self.outcome.raised = [_shown(one) for one in changes.raised]
        self.outcome.cleared = [_shown(one) for one in changes.cleared]
        if changes.raised or changes.cleared:
            self._notify()


def _shown(alert: Open) -> dict[str, Any]:
    """An alert as JSON shows it."""
    return {
        "name": alert.name,
        "subject": alert.subject or None,
        "message": alert.message,
        "hint": alert.hint,
        "processor": alert.processor,
        "organization": alert.organization or None,
        "raised_at": iso(alert.raised_at),
    }


def _facts(text: str | None) -> dict[str, Any] | None:
    """What a check wrote into its lock; None where there is none (any more), or not yet."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min" if minutes else f"{rest} s"
