"""Reads the content of files into the store (`--store-content`)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from batchctl.errors import InvalidInput
from batchctl.transitions.file_facts import file_ref

LIMIT = 10_000_000  # bytes a file
MOST = 500_000_000  # more than that fits into no row


def read(facts: str) -> bytes:
    """The content of a file as its facts (JSON text) tell it. Raises InvalidInput where it is another one by now."""
    file = file_ref(facts)
    shown = os.fsencode(file.path).decode("utf-8", "backslashreplace")
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{shown}: cannot be read any more: {error.strerror or error}") from error
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        raise InvalidInput(
            f"{shown}: changed while it was stored (still being written?)", hint="--min-age 1m leaves such files out"
        )
    return content
