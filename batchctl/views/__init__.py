"""Read-only questions about the queue, answered in the contract's JSON. One snapshot a question."""

from __future__ import annotations

from batchctl.views.resolve import (
    Target,
    resolve_batch,
    resolve_batches,
    resolve_item,
    resolve_target,
    storable,
)
from batchctl.views.views import Views

__all__ = [
    "Target",
    "Views",
    "resolve_batch",
    "resolve_batches",
    "resolve_item",
    "resolve_target",
    "storable",
]
