"""The words of the queue as values: states, items, batches, outcomes. Imports nothing of ours.

Times are integer milliseconds since the Unix epoch (UTC) unless a name says otherwise; durations are
milliseconds where the name ends in `_ms`, else seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

import msgspec

_object = msgspec.json.Decoder(dict[str, Any]).decode
_value = msgspec.json.Decoder().decode


class ItemState(StrEnum):
    """What enters and leaves each state stands in docs/states.md."""

    PENDING = "pending"
    WAITING = "waiting"
    PROCESSING = "processing"
    SUBMITTED = "submitted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES = frozenset({ItemState.COMPLETED, ItemState.FAILED, ItemState.CANCELLED})


class WaitingFor(StrEnum):
    RETRY = "retry"
    LANE = "lane"
    RATE = "rate"
    SCHEDULE = "schedule"
    PAUSED = "paused"
    OUTAGE = "outage"
    PROCESSOR = "processor"


class BatchStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (BatchStatus.PENDING, BatchStatus.PROCESSING)


class Priority(IntEnum):
    """Lower goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class BatchKind(StrEnum):
    FILES = "files"
    ORDERS = "orders"


class AttemptOutcome(StrEnum):
    """How one attempt ended; stored in `attempts.outcome`."""

    COMPLETED = "completed"
    RETRY = "retry"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    HANDED_BACK = "handed_back"
    OUTAGE = "outage"
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file as it was when it was enqueued.

    `path` is absolute and decoded as `os.fsdecode` does, so bytes that are not UTF-8 survive as surrogates and
    the path can be opened. `name` is its last part. `stored`: its content is in the store, where it is taken from.
    """

    path: str
    name: str
    size: int
    sha256: str
    media_type: str
    stored: bool = False


@dataclass(frozen=True, slots=True)
class BatchRef:
    """The facts of a batch that templates and handlers may see as `batch`."""

    id: str
    name: str | None
    organization: str | None
    user: str | None
    kind: BatchKind
    created_at: int
    total_items: int
    no: int = 0


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why an attempt failed: `type` is a short CamelCase word, `message` for people, without secrets."""

    type: str
    message: str
    permanent: bool = False


class StepPath(StrEnum):
    """What was done for a step: what it says itself, or its fallback."""

    STEP = "step"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class StepTry:
    """Where an item is in its chain; `attempt` is 1 for the first try of this step by this path."""

    name: str
    path: StepPath
    attempt: int


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What a step has left behind in the store.

    mark             its definition and those before it, as they were
    finished         False: the step itself has given up with `error`, its fallback is to be tried
    attempts_before  how many attempts the item had used by then
    result           JSON text
    usage            JSON text; None where it used nothing that is counted
    """

    step: str
    position: int
    mark: str
    path: StepPath
    finished: bool
    attempts_before: int
    at: int
    result: str | None = None
    error: ItemError | None = None
    usage: str | None = None
    artifacts: tuple[str, ...] = ()


class Item(msgspec.Struct, frozen=True, dict=True):
    """One claimed unit of work, as a processor sees it.

    number           the item's id in the store; never used again
    claim_no         rises at every claim; with the worker's id it fences late answers
    attempt          1 for the first try that counts
    position         row number in the input, from 1
    raw_payload      the order (a JSON object) or {} for a file: its JSON text, as stored
    suspect          a worker died with it in hand: it runs alone
    lane, lane_no    the lane it goes through
    start_at         ms by the store's clock: the start that a rate has reserved for it, not to be before
    kept             what its steps have left behind, in their order
    """

    number: int
    batch: BatchRef
    processor: str
    key: str
    position: int
    raw_payload: str
    file: FileRef | None
    idempotency_key: str
    claim_no: int
    attempt: int
    suspect: bool = False
    definition: str | None = None
    lane: str | None = None
    lane_no: int | None = None
    start_at: int | None = None
    kept: tuple[Kept, ...] = ()

    @cached_property
    def steps(self) -> dict[str, Any]:
        """The results of its finished steps by name."""
        return {one.step: _value(one.result or "null") for one in self.kept if one.finished}

    @cached_property
    def payload(self) -> dict[str, Any]:
        """Decoded when somebody asks: not where the text goes to a child as it is."""
        return _object(self.raw_payload)


@dataclass(frozen=True, slots=True)
class Completed:
    """The work is done; `result` is any JSON value, `artifacts` the absolute paths of files that it made.

    output           what an inline command wrote, byte for byte, for the screen of who drains it; never stored
    origin           who answered, where that is one of several receivers
    """

    result: Any = None
    log: str = ""
    usage: dict[str, Any] | None = None
    artifacts: tuple[str, ...] = ()
    output: bytes = b""
    origin: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The try failed. Whether it is tried again is for `retry.decide`, which knows the budget.

    retry_after      seconds from the end of the try before the next one, where the receiver said so
    output           as in Completed
    origin           the receiver whose answer this is; None where none came
    throttled        it wants fewer requests: that costs no attempt where the config has a say in their number
    """

    error: ItemError
    retry_after: float | None = None
    log: str = ""
    output: bytes = b""
    origin: str | None = field(default=None, compare=False)
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """The processor, not the item, is at fault (promise 5): no attempt is spent, its items wait."""

    error: ItemError
    log: str = ""


@dataclass(frozen=True, slots=True)
class Down:
    """The receiver at `origin` is down (promise 4). `unsent`: it was known to be, and was not asked."""

    error: ItemError
    origin: str
    retry_after: float | None = None
    log: str = ""
    unsent: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody cancelled it while it ran, and it has ended."""

    log: str = ""


@dataclass(frozen=True, slots=True)
class HandedBack:
    """It was not finished because the worker stops; it goes back to the queue and costs no attempt."""

    log: str = ""


Outcome = Completed | Failed | Broken | Down | Cancelled | HandedBack


class Incoming(msgspec.Struct, gc=False):
    """One item on its way into the queue, as intake yields it.

    key              unique in its batch; text that SQLite can store (no surrogates)
    position         row number in the input, from 1
    payload          JSON text of an object
    where            "orders.csv:17", for messages
    explicit_key     False where the key is only the row number
    file             JSON text of the file's facts: {"path", "name", "size", "sha256", "media_type"} and, where the path
                     is not UTF-8, "raw": its bytes in base64 ("path" and "name" then show them escaped); None for
                     orders
    sha256           of the file's content; None for orders
    lane             the value whose lane it goes through; None: it goes through none
    folder           where the file lies, as UTF-8; None where its host does not matter
    """

    key: str
    position: int
    payload: str
    where: str
    explicit_key: bool = True
    file: str | None = None
    sha256: str | None = None
    lane: str | None = None
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many batches of an organization within any so many seconds.

    name       how the config calls it
    processor  only batches for this one; None: for any
    user       only this user's; None: of all users together
    """

    name: str
    count: int
    seconds: float
    processor: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What `enqueue` asks the store to make; `group` where --split makes several of it."""

    kind: BatchKind
    processor: str
    definition: str | None = None
    name: str | None = None
    group: bool = False
    priority: Priority = Priority.NORMAL
    organization: str | None = None
    user: str | None = None
    not_before: int | None = None
    idempotency_key: str | None = None
    max_failures: int | float | None = None  # so many failed items stop it; a float is a share of its items
    quotas: tuple[Quota, ...] = ()
