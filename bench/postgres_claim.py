"""What a claim of 100 items costs on PostgreSQL: by what else is in the store, and after a million were drained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from statistics import median

import psycopg

from batchctl.engines.base import Engine
from batchctl.membership import Membership
from batchctl.model import AttemptOutcome, Item, ItemState
from batchctl.store import Claimer, Scope, Store
from batchctl.transitions.recording import Settled, record
from bench.harness import Line, Progress, Report, Verdict
from bench.postgres_server import Databases

SMALL = 10_000
LARGE = 1_000_000
ORGANIZATIONS = 1_000
GROUP = 100
ROUNDS = 40
WINDOW = 50
AT_MOST = 1.5
PROCESSOR = "noop"
BASE = f"{SMALL:,} queued"

Claim = Callable[[], float]
Connection = psycopg.Connection[tuple[object, ...]]

QUEUED = """
WITH batch AS (
    INSERT INTO batches (id, kind, processor, organization, status, total_items, created_at)
    VALUES ('b' || substr(md5(random()::text), 1, 12), 'orders', 'noop', %(organization)s, 'pending', %(count)s, 1)
    RETURNING no
), opened AS (
    INSERT INTO ready_groups (batch_no, processor, organization, priority)
    SELECT no, 'noop', %(organization)s, 1 FROM batch
), item AS (
    INSERT INTO items (batch_no, position, key, organization)
    SELECT no, n, 'A' || lpad(n::text, 8, '0'), %(organization)s FROM batch, generate_series(1, %(count)s) n
    RETURNING id
), named AS (
    INSERT INTO processors (name) VALUES ('noop') ON CONFLICT DO NOTHING
), turn AS (
    INSERT INTO turns (processor, priority, organization, ready) VALUES ('noop', 1, %(organization)s, 1)
    ON CONFLICT (processor, priority, organization) DO UPDATE SET ready = 1
)
INSERT INTO item_data (item_id, payload) SELECT id, '{"n":1}' FROM item
"""
PAUSED = "UPDATE batches SET paused = 1; UPDATE ready_groups SET gate = 'paused'"
FINISHED = """
UPDATE items SET state = 'completed', completed_at = 1, started_at = 1, claim_no = 1, attempts_used = 1;
INSERT INTO item_results (item_id, result) SELECT id, '{}' FROM items;
INSERT INTO attempts (item_id, claim_no, worker_id, outcome, counted, started_at, ended_at)
SELECT id, 1, 'w1', 'completed', 1, 1, 1 FROM items;
UPDATE batches SET status = 'completed', completed_at = 1, completed_items = total_items;
DELETE FROM ready_groups; UPDATE turns SET ready = 0
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """One kind of store: its name, and what fills it after (or without) a million queued items."""

    name: str
    fill: Callable[[Connection], None]


def run(large: int, server: Databases, say: Progress) -> Report:
    """Claims on every kind of store in turns."""
    with ExitStack() as stack:
        claims: dict[str, Claim] = {}
        for kind in kinds(large):
            say(f"postgres-claim: filling: {kind.name}")
            url = stack.enter_context(server.fresh(store=True))
            fill(url, kind)
            claims[kind.name] = stack.enter_context(claimer(url))
        say("postgres-claim: measuring")
        seconds: dict[str, list[float]] = {name: [] for name in claims}
        for number in range(ROUNDS + 5):
            for name, claim in claims.items():
                took = claim()
                if number >= 5:  # the first ones warm the caches, and statements are prepared at their fourth use
                    seconds[name].append(took)
    return _report(seconds)


def kinds(large: int) -> list[Filled]:
    def paused(connection: Connection) -> None:
        queue(connection, large)
        connection.execute(PAUSED)
        queue(connection, SMALL)

    def finished(connection: Connection) -> None:
        queue(connection, large)
        connection.execute(FINISHED)
        queue(connection, SMALL)

    def organizations(connection: Connection) -> None:
        for number in range(ORGANIZATIONS):
            queue(connection, GROUP, f"org-{number:04d}")

    return [
        Filled(BASE, lambda connection: queue(connection, SMALL)),
        Filled(f"{large:,} queued", lambda connection: queue(connection, large)),
        Filled(f"behind a paused batch of {large:,}", paused),
        Filled(f"with {large:,} finished", finished),
        Filled(f"{ORGANIZATIONS:,} organizations in turn", organizations),
    ]


def queue(connection: Connection, count: int, organization: str = "") -> None:
    """One batch with `count` pending items."""
    connection.execute(QUEUED, {"count": count, "organization": organization})


def fill(url: str, kind: Filled) -> None:
    with psycopg.connect(url) as connection:
        kind.fill(connection)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")  # as autovacuum has done a minute later


@contextmanager
def claimer(url: str) -> Iterator[Claim]:
    """A function that claims once, with its commit, and tells the seconds."""
    with closing(Store.open(url, create=False)) as store:
        one = Claimer(store.engine, "w-bench")
        scope = Scope(frozenset({PROCESSOR}))

        def claim() -> float:
            began = time.perf_counter()
            items = _claim(store.engine, one, scope)
            took = time.perf_counter() - began
            assert len(items) == GROUP, f"{len(items)} claimed"
            return took

        yield claim


def _claim(engine: Engine, claimer: Claimer, scope: Scope) -> list[Item]:
    with engine.write(shared=True) as tx:
        return claimer.claim(tx, scope, GROUP, engine.now())


def _report(seconds: dict[str, list[float]]) -> Report:
    lines = [
        Line(name, taken, 1 / median(taken), None, {"ms": median(taken) * 1000}) for name, taken in seconds.items()
    ]
    verdicts = []
    for name, taken in seconds.items():
        if name != BASE:
            ratio = median(own / base for own, base in zip(taken, seconds[BASE], strict=True))
            verdicts.append(Verdict(f"{name} / {BASE}", ratio, f"<= {AT_MOST:g}", ratio <= AT_MOST))
    title = f"PostgreSQL: cost of claiming {GROUP} items, commit included"
    return Report("postgres-claim", title, "claims", lines, verdicts, [])


def run_drained(count: int, server: Databases, say: Progress) -> Report:
    """Claims at the beginning and the end of a drain of `count` items, with no vacuum but the server's own. Claims from
    a store in which nothing else happens are taken in turns with them: a machine's speed drifts within minutes."""
    with server.fresh(store=True) as url, server.fresh(store=True) as quiet:
        say(f"postgres-million: filling {count:,}")
        fill(url, Filled("", lambda connection: queue(connection, count + GROUP * (2 * WINDOW + 10))))
        fill(quiet, Filled("", lambda connection: queue(connection, GROUP * (2 * WINDOW + 20))))
        with Drain(url) as drain, claimer(quiet) as control:
            for _ in range(5):  # statements are prepared at their fourth use
                drain.step()
                control()
            first = [(drain.step(), control()) for _ in range(WINDOW)]
            while drain.drained < count:
                drain.step()
                if drain.drained % 100_000 == 0:
                    say(f"postgres-million: {drain.drained:,} drained, claims take {drain.lately() * 1000:.2f} ms")
            last = [(drain.step(), control()) for _ in range(WINDOW)]
            slowest = drain.slowest()
    return _report_drained(count, first, last, slowest)


def _report_drained(
    count: int, first: list[tuple[float, float]], last: list[tuple[float, float]], slowest: float
) -> Report:
    lines = [
        Line(name, taken, 1 / median(taken), None, {"ms": median(taken) * 1000})
        for name, taken in (
            ("first claims", [own for own, _ in first]),
            ("beside them, in a quiet store", [other for _, other in first]),
            (f"after {count:,} drained", [own for own, _ in last]),
            ("beside those, in a quiet store", [other for _, other in last]),
        )
    ]
    began, ended = (median(own / other for own, other in pairs) for pairs in (first, last))
    verdicts = [
        Verdict(f"after {count:,} drained / first", ended / began, f"<= {AT_MOST:g}", ended / began <= AT_MOST),
        Verdict(f"slowest {WINDOW} in a row / first", slowest / median(own for own, _ in first), "", None),
    ]
    title = f"PostgreSQL: cost of claiming {GROUP} items while {count:,} are drained"
    return Report("postgres-million", title, "claims", lines, verdicts, [])


class Drain:
    """Claims and records group after group."""

    def __init__(self, url: str) -> None:
        self.drained = 0
        self._taken: list[float] = []
        self._store = Store.open(url, create=False)
        self._member = Membership(self._store.engine, 3600, GROUP, [PROCESSOR])
        self._claimer = Claimer(self._store.engine, self._member.id)
        self._scope = Scope(frozenset({PROCESSOR}))

    def __enter__(self) -> Drain:
        self._member.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._member.__exit__(None, None, None)
        self._store.close()

    def step(self) -> float:
        """One group; how long its claim took with its commit, in seconds."""
        began = time.perf_counter()
        items = _claim(self._store.engine, self._claimer, self._scope)
        self._taken.append(time.perf_counter() - began)
        assert len(items) == GROUP
        _complete(self._store.engine, self._member.id, items)
        self.drained += GROUP
        return self._taken[-1]

    def lately(self) -> float:
        return median(self._taken[-WINDOW:])

    def slowest(self) -> float:
        """The median of the slowest WINDOW claims in a row."""
        starts = range(5, len(self._taken) - WINDOW + 1, WINDOW)
        return max(median(self._taken[at : at + WINDOW]) for at in starts)


def _complete(engine: Engine, worker_id: str, items: list[Item]) -> None:
    with engine.write(shared=True) as tx:
        now = engine.now()
        record(tx, worker_id, [_completed(item, now) for item in items], now)


def _completed(item: Item, now: int) -> Settled:
    return Settled(
        item.number,
        item.claim_no,
        item.batch.no,
        item.batch.organization or "",
        ItemState.COMPLETED,
        AttemptOutcome.COMPLETED,
        counted=True,
        started_at=now,
        ended_at=now,
        result='{"n":1}',
    )
