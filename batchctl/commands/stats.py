"""`stats`: how much there is to do, how it went, how long it takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of, moment
from batchctl.errors import InvalidInput, UsageError

if TYPE_CHECKING:
    from batchctl.store import Store
    from batchctl.views.outages import Outage
    from batchctl.views.stats import Figures, Statistics

_FORMATS = ("table", "json", "prometheus")
_STEPS = {60_000: "a minute", 3_600_000: "an hour", 86_400_000: "a day"}


def register(app: typer.Typer) -> None:
    app.command("stats")(stats)


def stats(
    ctx: typer.Context,
    since: Annotated[str, typer.Option(metavar="T", help="What ended since then: 24h, 7d, 02:00, a date.")] = "24h",
    form: Annotated[str, typer.Option("--format", metavar="F", help=f"{', '.join(_FORMATS)}.")] = "table",
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="prometheus: write this file, whole or not at all."),
    ] = None,
) -> None:
    """Show how much waits, how it went and how long it took, by processor, organization and user."""
    shared = globals_of(ctx)
    if form not in _FORMATS:
        raise InvalidInput(f"--format: there is no format {form!r}", hint=f"one of {', '.join(_FORMATS)}")
    shared.only_json(form)
    if output is not None and form != "prometheus":
        raise UsageError("--output goes with --format prometheus", hint="send the others where you like with `>`")
    begin = moment(since, "--since", past=True)
    store = shared.store_or_none()
    if form == "prometheus":
        from batchctl.commands.stats_prometheus import write

        write(shared, store, output)
        return
    found = _found(shared, store, begin or 0)
    if shared.json or form == "json":
        from batchctl.views.stats import as_json

        console.emit_json(as_json(found))
    elif store is not None:
        _show(found)


def _found(shared: Globals, store: Store | None, since: int) -> Statistics:
    from batchctl.views.stats import begun, statistics

    if store is not None:
        return statistics(shared.views(store), since)
    import time

    return begun(since, time.time_ns() // 1_000_000)


def _show(found: Statistics) -> None:
    total = found.total
    console.facts(
        [
            ("queue", _queue(found)),
            ("ended", _ended(found)),
            ("time", _times(total)),
            ("pace", _spark(found)),
            *(("outage", _outage(one)) for one in found.outages),
            ("at once", _limits(found)),
        ]
    )
    for title, parts in (
        ("processor", found.processors),
        ("organization", found.organizations),
        ("user", found.users),
    ):
        if set(parts) - {""}:
            console.out()
            _table(title, found, parts)


def _limits(found: Statistics) -> str | None:
    """The present limits of `concurrency: auto`."""
    return ", ".join(f"{most} of {name}" for name, most in sorted(found.limits.items())) or None


def _outage(one: Outage) -> str:
    return f"{one.origin} ({one.processor}) is down since {console.when(one.since)}: {one.error}"


def _queue(found: Statistics) -> str:
    from batchctl.views.stats import STATES

    figures = found.total
    if not figures.batches:
        return "empty"
    states = [f"{console.number(figures.queued[state])} {state}" for state in STATES if figures.queued[state]]
    items = console.plural(figures.queued.total(), "item")
    where = console.plural(figures.batches, "batch", "batches")
    age = console.span(max(0, found.until - (figures.oldest or found.until)))
    return f"{items} in {where} ({', '.join(states)}), the oldest has been there for {age}"


def _ended(found: Statistics) -> str:
    from batchctl.views.stats import per_minute, success_rate

    outcomes = found.total.outcomes
    window = f"since {console.when(found.since)}"
    if not outcomes.total():
        return f"nothing {window}"
    rate = success_rate(found.total)
    parts = [f"{console.number(outcomes['completed'])} completed", f"{console.number(outcomes['failed'])} failed"]
    if rate is not None:
        parts.append(f"{console.percent(100 * rate)} success")
    parts += [
        console.plural(outcomes["retry"], "retry", "retries"),
        f"{_rate(per_minute(found, found.total))} a minute",
    ]
    return f"{', '.join(parts)}; {window}"


def _times(figures: Figures) -> str | None:
    done = figures.outcomes["completed"]
    if not done:
        return None
    return (
        f"{console.span(figures.took / done)} on average, half within {_length(figures, 0.5)}, "
        f"95% within {_length(figures, 0.95)}"
    )


def _length(figures: Figures, share: float) -> str:
    from batchctl.histogram import percentile

    return console.span(percentile(figures.buckets, share))


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 or not value else f"{value:.2g}"


def _spark(found: Statistics) -> str | None:
    """What ended in each step of the window, on a terminal that can show it."""
    counts = [outcomes["completed"] + outcomes["failed"] for _, outcomes in found.timeline]
    if not console.fancy(sys.stdout) or not any(counts) or "utf" not in (sys.stdout.encoding or "").lower():
        return None
    from batchctl.console.spark import sparkline

    step = _STEPS.get(found.step) or console.span(found.step)
    return f"▕{sparkline(counts)}▏ at most {console.number(max(counts))} in {step}"


def _table(title: str, found: Statistics, parts: dict[str, Figures]) -> None:
    columns = [
        console.Column(title, gives=True),
        console.Column("queued", right=True),
        console.Column("oldest", right=True, rank=5),
        console.Column("completed", right=True),
        console.Column("failed", right=True, style=lambda text: "red" if text != "0" else None),
        console.Column("success", right=True, rank=3),
        console.Column("retries", right=True, rank=4),
        console.Column("mean", right=True, rank=7),
        console.Column("p50", right=True, rank=2),
        console.Column("p95", right=True, rank=1),
        console.Column("a minute", right=True, rank=6),
    ]
    busiest = sorted(parts, key=lambda name: (-parts[name].queued.total(), -parts[name].outcomes.total(), name))
    console.table(columns, [_row(name, found, parts[name]) for name in busiest])


def _row(name: str, found: Statistics, figures: Figures) -> list[object]:
    from batchctl.views.stats import per_minute, success_rate

    done, rate = figures.outcomes["completed"], success_rate(figures)
    return [
        name,
        console.number(figures.queued.total()),
        console.span(None if figures.oldest is None else max(0, found.until - figures.oldest)),
        console.number(done),
        console.number(figures.outcomes["failed"]),
        console.percent(None if rate is None else 100 * rate),
        console.number(figures.outcomes["retry"]),
        console.span(figures.took / done if done else None),
        _length(figures, 0.5),
        _length(figures, 0.95),
        _rate(per_minute(found, figures)),
    ]
