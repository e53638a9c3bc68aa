"""What of the queue is a worker's business."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

INLINE = "inline:"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a worker may claim.

    processors    those that its config knows and can run
    limits        how many items of a processor may run at once across all workers, where that is limited
    batch_nos     only these batches; None: every batch
    processor     only this one; None: every processor, also those that batches bring along
    organization  only this one; None: all
    paced         those of the processors that have lanes or a rate, or that may be throttled
    adaptive      those whose limit the store tells
    """

    processors: frozenset[str]
    limits: Mapping[str, int] = field(default_factory=dict)
    batch_nos: tuple[int, ...] | None = None
    processor: str | None = None
    organization: str | None = None
    paced: frozenset[str] = frozenset()
    adaptive: frozenset[str] = frozenset()

    def knows(self, processor: str) -> bool:
        """Whether the worker can run items of the processor."""
        return processor in self.processors or (self.processor is None and processor.startswith(INLINE))

    def covers(self, batch_no: int, processor: str, organization: str) -> bool:
        """Whether a batch is the worker's business at all."""
        return (
            (self.batch_nos is None or batch_no in self.batch_nos)
            and self.processor in (None, processor)
            and self.organization in (None, organization)
        )

    def bounds(self) -> str | None:
        """What bounds it beside its processors, for the worker's row; None: nothing."""
        if self.batch_nos is None and self.organization is None:
            return None
        return json.dumps({"batches": self.batch_nos, "organization": self.organization})


def of_worker(processors: str, bounds: str | None) -> Scope:
    """The scope of another worker, by its row."""
    found = json.loads(bounds) if bounds is not None else {}
    batches = found.get("batches")
    return Scope(
        processors=frozenset(json.loads(processors)),
        batch_nos=None if batches is None else tuple(batches),
        organization=found.get("organization"),
    )
