"""What a worker is to do, what it did, and why it stopped: values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from batchctl.config import Config
from batchctl.model import ItemState
from batchctl.running import Ended
from batchctl.service import Service
from batchctl.store import Scope
from batchctl.transitions.recording import Settled

_REMEMBERED = 10_000  # failures: those of an outage that nobody knows of yet are among the latest


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
    _lately_failed: dict[int, None] = field(default_factory=dict)

    def add(self, settled: Settled) -> None:
        self.batches.add(settled.batch_no)
        if settled.item_id in self._lately_failed:  # an outage has given it back
            del self._lately_failed[settled.item_id]
            self.failed -= 1
        match settled.state:
            case ItemState.COMPLETED:
                self.completed += 1
            case ItemState.FAILED:
                self.failed += 1
                self._lately_failed[settled.item_id] = None
                if len(self._lately_failed) > _REMEMBERED:
                    del self._lately_failed[next(iter(self._lately_failed))]
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
