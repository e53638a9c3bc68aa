"""The processor of `enqueue … -- COMMAND`: its definition lies in the batch, no config is needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from batchctl.config.structs import CommandSpec, ProcessorConfig

PREFIX = "inline:"


def inline(definition: str) -> ProcessorConfig:
    """From the JSON text `{"command": [word, …], "folder": path, "timeout": s|null, "retries": n|null,
    "stdout_to": template|null}`. The words hold GNU parallel's placeholders."""
    data: dict[str, Any] = json.loads(definition)
    folder = Path(data["folder"])
    spec = CommandSpec(argv=tuple(data["command"]), style="parallel", cwd=folder, stdout_to=data.get("stdout_to"))
    given = {"timeout": data.get("timeout"), "max_retries": data.get("retries")}
    return ProcessorConfig(
        name=PREFIX + Path(data["command"][0]).name,
        kind="command",
        spec=spec,
        folder=folder,
        fingerprint=hashlib.blake2b(definition.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest(),
        **{key: value for key, value in given.items() if value is not None},
    )
