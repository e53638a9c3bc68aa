"""What the store keeps of an item's file, read back; `intake.hashing` writes it."""

from __future__ import annotations

import base64
import json
import os

from batchctl.model import FileRef


def file_ref(text: str) -> FileRef:
    """The stored facts of a file, its path as the bytes it had."""
    facts = json.loads(text)
    path, name = facts["path"], facts["name"]
    if "raw" in facts:
        path = os.fsdecode(base64.b64decode(facts["raw"]))
        name = path.rpartition("/")[2]
    return FileRef(path, name, facts["size"], facts["sha256"], facts["media_type"], facts.get("stored", False))
