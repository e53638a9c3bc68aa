"""What the config may already say but this version does not do yet. As work goes on, entries leave this page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A processor that uses one of these does not run: better its items wait than run under wrong rules.
PROCESSOR_KEYS: tuple[tuple[str, ...], ...] = (
    ("steps",),
    ("gemini",),
    ("openai",),
    ("anthropic",),
    ("lane",),
    ("rate",),
    ("accept", "batches_per_user"),
    ("poll",),
    ("max_wait",),
    ("budget",),
    ("submit",),
)


def unavailable(definition: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The keys of a processor's definition that this version does not execute."""
    return [path for path in PROCESSOR_KEYS if _has(definition, path)]


def _has(value: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(value, Mapping) or value.get(name) is None:
            return False
        value = value[name]
    return True
