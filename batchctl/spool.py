"""Files whose content is in the store, for as long as somebody works on them: in a worker's own folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from batchctl.model import Item


class Spool:
    """Below `folder` (0700), one folder a claim, so that each file keeps its name. What a killed worker left goes with
    its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "files"

    def put(self, item: Item, content: bytes) -> Item:
        """Write the item's file (0600); the item with its path. Raises OSError."""
        assert item.file is not None
        folder = self._folder_of(item)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = os.fsencode(folder / item.file.name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as stream:
            rest = memoryview(content)
            while rest:
                rest = rest[stream.write(rest) :]
        return msgspec.structs.replace(item, file=replace(item.file, path=os.fsdecode(path)))

    def drop(self, item: Item) -> None:
        """It has ended, or was given back."""
        shutil.rmtree(self._folder_of(item), ignore_errors=True)

    def _folder_of(self, item: Item) -> Path:
        return self._folder / f"{item.number}-{item.claim_no}"


def is_stored(item: Item) -> bool:
    """Whether the content of its file is in the store."""
    return item.file is not None and item.file.stored
