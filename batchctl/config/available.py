"""What the config may already say but this version does not do yet. As work goes on, entries leave this page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchctl.config.problems import Path

# A processor that uses one of these does not run: better its items wait than run under wrong rules.
PROCESSOR_KEYS: tuple[tuple[str, ...], ...] = (
    ("gemini",),
    ("openai",),
    ("anthropic",),
    ("poll",),
    ("max_wait",),
    ("budget",),
    ("submit",),
)


def unavailable(definition: Mapping[str, Any]) -> list[Path]:
    """The keys of a processor's definition that this version does not execute."""
    found: list[Path] = [path for path in PROCESSOR_KEYS if _has(definition, path)]
    for place, part in _parts(definition.get("steps")):
        found += [(*place, *path) for path in PROCESSOR_KEYS if _has(part, path)]
    return found


def _parts(steps: Any) -> Iterator[tuple[Path, Any]]:
    """Each step and fallback with its place."""
    for number, step in enumerate(steps if isinstance(steps, list) else ()):
        yield ("steps", number), step
        if isinstance(step, Mapping):
            yield ("steps", number, "fallback"), step.get("fallback")


def _has(value: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(value, Mapping) or value.get(name) is None:
            return False
        value = value[name]
    return True
