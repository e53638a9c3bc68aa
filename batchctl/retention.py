"""Deletes what its owner no longer wants to keep: finished batches past their rule, and files that nobody owns."""

from __future__ import annotations

from dataclasses import dataclass

from batchctl.config import Config
from batchctl.store import Store


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What went (or would go): batches, their items, orphaned files, provider uploads; bytes given back to the disk."""

    batches: int = 0
    items: int = 0
    files: int = 0
    uploads: int = 0
    bytes: int = 0


def clean(
    store: Store,
    config: Config,
    *,
    older_than: float | None = None,
    dry_run: bool = False,
    deadline: float | None = None,
) -> Cleaned:
    """Delete what is past its rule, at most until `deadline` (time.monotonic()). `older_than` in seconds replaces the
    config's rules for every finished batch."""
    del store, config, older_than, dry_run, deadline  # the next step
    return Cleaned()
