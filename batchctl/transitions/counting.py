"""What attempts came to, added to the minute they ended in: `stats` and alerts read that and never the attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from batchctl.engines.base import Tx
from batchctl.histogram import NONE, bucket_of

if TYPE_CHECKING:
    from batchctl.transitions.recording import Settled

MINUTE = 60_000


def count_attempts(tx: Tx, settled: Iterable[Settled]) -> None:
    """Add the attempts to the summary. The last thing that a commit waits for: other workers add to the same rows."""
    counts: Counter[tuple[int, int, str, int]] = Counter()
    took: Counter[tuple[int, int, str, int]] = Counter()
    for one in settled:
        if one.outcome is None:
            continue
        minute = one.ended_at - one.ended_at % MINUTE
        if one.started_at is None:
            counts[one.batch_no, minute, one.outcome, NONE] += 1
            continue
        ms = max(0, one.ended_at - one.started_at)
        where = (one.batch_no, minute, one.outcome, bucket_of(ms))
        counts[where] += 1
        took[where] += ms
    if counts:
        rows = [(*where, count, took[where]) for where, count in counts.items()]
        tx.run("count_attempts", {"rows": msgspec.json.encode(rows).decode()})
