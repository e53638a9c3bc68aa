"""What attempts came to, added to the minute they ended in: `stats` and alerts read that and never the attempts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from batchctl.engines.again import again
from batchctl.engines.base import Engine, Tx
from batchctl.histogram import NONE, bucket_of
from batchctl.model import AttemptOutcome

if TYPE_CHECKING:
    from batchctl.transitions.recording import Settled

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # ms
COMPLETED = AttemptOutcome.COMPLETED


def count_attempts(tx: Tx, settled: Iterable[Settled]) -> None:
    """Add the attempts to the summary. The last thing that a commit waits for: other workers add to the same rows."""
    counted: dict[tuple[int, int, str, int], list[int]] = {}
    for one in settled:
        if one.outcome is None:
            continue
        ended, started = one.ended_at, one.started_at
        ms, bucket = 0, NONE
        if started is not None and ended >= started:
            ms = ended - started
            bucket = bucket_of(ms)
        # A plain string: an enum's hash is slow, and this runs for each item.
        outcome = "completed" if one.outcome is COMPLETED else one.outcome.value
        where = (one.batch_no, ended - ended % MINUTE, outcome, bucket)
        sums = counted.get(where)
        if sums is None:
            counted[where] = [1, ms]
        else:
            sums[0] += 1
            sums[1] += ms
    if counted:
        rows = [(*where, *sums) for where, sums in counted.items()]
        tx.run("count_attempts", {"rows": msgspec.json.encode(rows).decode()})


def add_up_old(engine: Engine) -> None:
    """Make hours of minutes that are older than two days, and days of hours that are older than sixty; an hour or a day
    in one transaction."""
    now = engine.now()
    for step, age in ((HOUR, 2 * DAY), (DAY, 60 * DAY)):
        while True:
            where = {"before": now - age - (now - age) % step, "step": step}
            if not _add_up(engine, where):
                break


@again
def _add_up(engine: Engine, where: dict[str, int]) -> bool:
    """Add up the oldest. False where there is nothing to add up."""
    with engine.read() as tx:
        oldest = tx.value("oldest_fine_minute", where)
    if oldest is None:
        return False
    span = {"start": oldest - oldest % where["step"], "step": where["step"]}
    with engine.write() as tx:
        tx.run("add_up_minutes", span)
        tx.run("drop_minutes", span)
    return True
