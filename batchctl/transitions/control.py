"""pause, resume, set: gates change rows of groups and processors, never items."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from batchctl.engines.again import again
from batchctl.engines.base import Engine
from batchctl.model import BatchStatus, Priority
from batchctl.transitions.common import event, open_group

EVERYTHING = "*"
_CHUNK = 1_000


class _Unset:
    """Tells "not given" from None."""


UNSET: Final = _Unset()


def pause(engine: Engine, batch_nos: Iterable[int], until: int | None, actor: str | None) -> int:
    """No new claims from these batches, until a time (ms UTC) where one is given. Returns how many were open."""
    return sum(_each(engine, no, "pause_batch", "paused", actor, {"until": until}) for no in batch_nos)


def resume(engine: Engine, batch_nos: Iterable[int], actor: str | None) -> int:
    """Claims go on, also in lanes that a failure holds. Returns how many batches had been paused or held."""
    return sum(_resume(engine, no, actor) for no in batch_nos)


def _resume(engine: Engine, no: int, actor: str | None) -> bool:
    resumed = _each(engine, no, "resume_batch", "resumed", actor, {})
    return bool(resumed + _let_go(engine, no, actor))


@again
def _let_go(engine: Engine, no: int, actor: str | None) -> int:
    """The lanes of a batch that a failure holds go on. Returns how many they are."""
    with engine.write() as tx:
        held = tx.run("let_lanes_of_batch_go", {"no": no})
        if held:
            tx.run("raise_control")
            organization = tx.value("batch_organization", {"no": no})
            event(tx, "lanes_resumed", engine.now(), organization=organization, batch_no=no, actor=actor, count=held)
        return held


@again
def _each(engine: Engine, no: int, statement: str, name: str, actor: str | None, values: dict[str, Any]) -> int:
    with engine.write() as tx:
        now = engine.now()
        changed = tx.run(statement, {"no": no} | values)
        if changed:
            open_group(tx, no, now)
            tx.run("raise_control")
            organization = tx.value("batch_organization", {"no": no})
            event(tx, name, now, organization=organization, batch_no=no, actor=actor, detail=values or None)
        return changed


@again
def pause_processor(engine: Engine, name: str, until: int | None, actor: str | None) -> None:
    """No new claims for the processor; the name `*` means all of them."""
    with engine.write() as tx:
        tx.run("pause_processor", {"processor": name, "until": until})
        tx.run("raise_control")
        event(tx, "processor_paused", engine.now(), actor=actor, detail={"processor": name, "until": until})


def resume_processor(engine: Engine, name: str, actor: str | None) -> bool:
    """Ends a pause and forgets that the processor was broken. With `*` everything that is paused goes on."""
    if name == EVERYTHING:
        while _resume_batches(engine):
            pass
    return _resume_processor(engine, name, actor)


@again
def _resume_processor(engine: Engine, name: str, actor: str | None) -> bool:
    with engine.write() as tx:
        now = engine.now()
        names = [name]
        if name == EVERYTHING:
            names += [found for (found,) in tx.all("paused_processors")]
        changed = sum(
            tx.run("resume_processor", {"processor": one})
            + tx.run("mend_processor", {"processor": one})
            + tx.run("end_outages", {"processor": one})
            for one in names
        )
        changed += tx.run("let_lanes_of_processor_go", {"processor": name})
        tx.run("raise_control")
        event(tx, "processor_resumed", now, actor=actor, detail={"processor": name})
        return changed > 0


@again
def _resume_batches(engine: Engine) -> int:
    """Some of those that are paused. Returns how many."""
    with engine.write() as tx:
        batches = tx.all("paused_batches", {"limit": _CHUNK})
        for (no,) in batches:
            tx.run("resume_batch", {"no": no})
            open_group(tx, no, engine.now())
    return len(batches)


@again
def alter(
    engine: Engine,
    batch_no: int,
    actor: str | None,
    *,
    priority: Priority | None = None,
    name: str | None = None,
    not_before: int | _Unset | None = UNSET,
) -> None:
    """Change what is given and leave the rest. `not_before` in ms UTC, None lifts it."""
    with engine.write() as tx:
        row = tx.one("batch_settings", {"no": batch_no})
        assert row is not None
        old_priority, old_name, old_time, status, organization = row
        new = {
            "priority": old_priority if priority is None else int(priority),
            "name": old_name if name is None else name,
            "not_before": old_time if isinstance(not_before, _Unset) else not_before,
        }
        tx.run("alter_batch", {"no": batch_no} | new)
        if not BatchStatus(status).final:
            open_group(tx, batch_no, engine.now())
        tx.run("raise_control")
        given = {"priority": priority is not None, "name": name is not None, "not_before": not_before is not UNSET}
        detail = {key: value for key, value in new.items() if given[key]}
        if priority is not None:
            detail["priority"] = priority.name.lower()
        event(tx, "changed", engine.now(), organization=organization, batch_no=batch_no, actor=actor, detail=detail)
