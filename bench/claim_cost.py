"""What a claim of 100 items costs, whatever else is in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from batchctl.store import Claimer, Scope, Store
from bench import filled
from bench.harness import Line, Progress, Report, Verdict, in_fresh_folder

SMALL = 10_000
LARGE = 1_000_000
HUGE = 10_000_000
ORGANIZATIONS = 1_000
GROUP = 100
ROUNDS = 40
AT_MOST = 1.5

BASE = f"{SMALL:,} queued"
Claim = Callable[[], float]


def run(large: int | None, base: Path, say: Progress, *, huge: bool = False) -> Report:
    return in_fresh_folder(base, lambda folder: _compare(folder, large or LARGE, say, huge))  # type: ignore[no-any-return]


def _compare(folder: Path, large: int, say: Progress, huge: bool) -> Report:
    stores = prepare(folder, large, say, huge)
    with ExitStack() as stack:
        claims = {name: _claimer(path, stack) for name, path in stores.items()}
        say("claim: measuring")
        seconds: dict[str, list[float]] = {name: [] for name in claims}
        for number in range(ROUNDS + 3):
            for name, claim in claims.items():
                took = claim()
                if number >= 3:  # the first ones warm the caches
                    seconds[name].append(took)
    return _report(seconds)


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
        f"{ORGANIZATIONS:,} organizations in turn": filled.make(
            folder / "turns.db", lambda c: filled.organizations(c, ORGANIZATIONS, GROUP)
        ),
        f"{large:,} queued": big,
    }
    if huge:
        say(f"claim: filling a store with {HUGE:,} items")
        stores[f"{HUGE:,} queued"] = filled.make(folder / "huge.db", lambda c: _queue(c, HUGE))
    return stores


def _queue(connection: object, count: int) -> None:
    filled.queued(connection, count)  # type: ignore[arg-type]


def _claimer(path: Path, stack: ExitStack) -> Claim:
    """A function that claims once, with its commit, and tells the seconds."""
    store = Store.open(str(path), create=False)
    stack.callback(store.close)
    claimer = Claimer(store.engine, "w-bench")
    scope = Scope(frozenset({filled.PROCESSOR}))

    def claim() -> float:
        began = time.perf_counter()
        with store.engine.write() as tx:
            items = claimer.claim(tx, scope, GROUP, store.engine.now())
        took = time.perf_counter() - began
        assert len(items) == GROUP, f"{path.name}: {len(items)} claimed"
        return took

    return claim


def _report(seconds: dict[str, list[float]]) -> Report:
    lines = [
        Line(name, taken, 1 / median(taken), None, {"ms": median(taken) * 1000}) for name, taken in seconds.items()
    ]
    verdicts = []
    for name, taken in seconds.items():
        if name != BASE:
            ratio = median(own / base for own, base in zip(taken, seconds[BASE], strict=True))
            verdicts.append(Verdict(f"{name} / {BASE}", ratio, f"<= {AT_MOST:g}", ratio <= AT_MOST))
    return Report("claim", f"Cost of claiming {GROUP} items, commit included", "claims", lines, verdicts, [])
