"""What a claim of 100 items costs, whatever else is in the store."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from batchctl.model import AttemptOutcome, Item, ItemState
from batchctl.store import Claimer, Scope, Store
from batchctl.transitions import lanes
from batchctl.transitions.recording import Settled, record
from batchctl.transitions.turns import TURN
from bench import filled
from bench.harness import Line, Progress, Report, Verdict, in_fresh_folder

SMALL = 10_000
LARGE = 1_000_000
HUGE = 10_000_000
ORGANIZATIONS = 1_000
GROUP = 100
ROUNDS = 40
LANES = 10_000
AT_MOST = 1.5
AT_MOST_WITH_LANES = 2.0

BASE = f"{SMALL:,} queued"
IN_LANES = f"in {LANES:,} lanes"
IN_TURN = f"{ORGANIZATIONS:,} organizations in turn"
BEGINS = f"{IN_TURN}, the first items of each batch"
CYCLE = "completing 100 and claiming 100, "


def run(large: int | None, base: Path, say: Progress, *, huge: bool = False) -> Report:
    return in_fresh_folder(base, lambda folder: _compare(folder, large or LARGE, say, huge))  # type: ignore[no-any-return]


def _compare(folder: Path, large: int, say: Progress, huge: bool) -> Report:
    stores = prepare(folder, large, say, huge)
    with ExitStack() as stack:
        claims = {name: Claiming(path, stack, laned=name.endswith(IN_LANES)) for name, path in stores.items()}
        say("claim: measuring")
        begins = _first_visits(claims[IN_TURN])
        seconds: dict[str, list[float]] = {name: [] for name in claims}
        for number in range(ROUNDS + 3):
            for name, claim in claims.items():
                took = claim()
                if number >= 3:  # the first ones warm the caches
                    seconds[name].append(took)
        cycles = {name: claims[name].cycles() for name in claims if name == BASE or name.endswith(IN_LANES)}
    return _report(seconds, begins, cycles)


def _first_visits(claim: Claiming) -> list[float]:
    """Claim until each organization's batch has begun; what recurs is what comes after that. The seconds of some."""
    return [claim() for _ in range(ORGANIZATIONS * TURN // GROUP)][3 : ROUNDS + 3]


def prepare(folder: Path, large: int, say: Progress, huge: bool) -> dict[str, Path]:
    """Every store, by what is special about it."""
    say(f"claim: filling stores with {large:,} items")
    big = filled.make(folder / "large.db", lambda c: _queue(c, large))
    stores = {
        BASE: filled.make(folder / "small.db", lambda c: _queue(c, SMALL)),
        f"behind a paused batch of {large:,}": filled.make(
            folder / "paused.db", lambda c: filled.paused(c, SMALL), start=big
        ),
        f"with {large:,} finished": filled.make(folder / "done.db", lambda c: filled.finished(c, SMALL), start=big),
        IN_TURN: filled.make(folder / "turns.db", lambda c: filled.organizations(c, ORGANIZATIONS, GROUP)),
        f"{large:,} queued": big,
        f"{large:,} queued {IN_LANES}": filled.make(folder / "lanes.db", lambda c: filled.laned(c, large, LANES)),
    }
    if huge:
        say(f"claim: filling a store with {HUGE:,} items")
        stores[f"{HUGE:,} queued"] = filled.make(folder / "huge.db", lambda c: _queue(c, HUGE))
    return stores


def _queue(connection: object, count: int) -> None:
    filled.queued(connection, count)  # type: ignore[arg-type]


class Claiming:
    """Claims from one store; called, it claims once, with its commit, and tells the seconds."""

    def __init__(self, path: Path, stack: ExitStack, *, laned: bool) -> None:
        self._store = Store.open(str(path), create=False)
        stack.callback(self._store.close)
        self._claimer = Claimer(self._store.engine, "w-bench")
        known = frozenset({filled.PROCESSOR})
        self._scope = Scope(known, paced=known if laned else frozenset())
        self._held: list[Item] = []
        lanes.catch_up_all(self._store.engine)

    def __call__(self) -> float:
        began = time.perf_counter()
        with self._store.engine.write() as tx:
            self._held = self._claimer.claim(tx, self._scope, GROUP, self._store.engine.now())
        took = time.perf_counter() - began
        assert len(self._held) == GROUP, f"{len(self._held)} claimed"
        return took

    def cycles(self) -> list[float]:
        """The seconds for completing what was claimed and claiming as many, in one commit."""
        return [self._cycle() for _ in range(ROUNDS)]

    def _cycle(self) -> float:
        now = self._store.engine.now()
        settled = [_completed(item, now) for item in self._held]
        began = time.perf_counter()
        with self._store.engine.write() as tx:
            record(tx, "w-bench", settled, now)
            self._held = self._claimer.claim(tx, self._scope, GROUP, now)
        return time.perf_counter() - began


def _completed(item: Item, now: int) -> Settled:
    return Settled(
        item_id=item.number,
        claim_no=item.claim_no,
        batch_no=item.batch.no,
        organization="",
        state=ItemState.COMPLETED,
        outcome=AttemptOutcome.COMPLETED,
        counted=True,
        started_at=now,
        ended_at=now,
        result="1",
        lane_no=item.lane_no,
    )


def _report(seconds: dict[str, list[float]], begins: list[float], cycles: dict[str, list[float]]) -> Report:
    lines = [_line(name, taken) for name, taken in seconds.items()]
    lines.append(_line(BEGINS, begins))
    lines += [_line(CYCLE + name, taken) for name, taken in cycles.items()]
    verdicts = []
    for name, taken in seconds.items():
        if name != BASE:
            most = AT_MOST_WITH_LANES if name.endswith(IN_LANES) else AT_MOST
            ratio = median(own / base for own, base in zip(taken, seconds[BASE], strict=True))
            verdicts.append(Verdict(f"{name} / {BASE}", ratio, f"<= {most:g}", ratio <= most))
    return Report("claim", f"Cost of claiming {GROUP} items, commit included", "claims", lines, verdicts, [])


def _line(name: str, taken: list[float]) -> Line:
    return Line(name, taken, 1 / median(taken), None, {"ms": median(taken) * 1000})
