"""What came out of a batch, written in the formats that people ask for; a module a format."""

from __future__ import annotations

from importlib import import_module
from typing import BinaryIO

from batchctl.export.source import Source

FORMATS = ("jsonl", "json", "csv", "xlsx", "markdown", "junit")

__all__ = ["FORMATS", "Source", "write"]


def write(name: str, out: BinaryIO, sources: list[Source]) -> None:
    """Write the batches in the format `name` (one of FORMATS), in flat memory. Raises InvalidInput where it can't
    hold so much, OSError where `out` can't be written."""
    import_module(f"batchctl.export.{name}").write(out, sources)
