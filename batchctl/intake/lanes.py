"""The lane of an item: the value of the processor's `lane.field`, as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from batchctl.config.structs import LaneConfig, ProcessorConfig
from batchctl.errors import ConfigError
from batchctl.intake.checks import nearest
from batchctl.intake.names import readable
from batchctl.intake.records import kind_of

LONGEST = 255  # characters
OF_FILES = ("path", "name", "stem", "suffix", "dir")

LaneOf = Callable[[Mapping[str, Any]], str]
LaneOfPath = Callable[[str], str]


class NoLane(ValueError):
    """The item has no usable value for its lane; the message says why."""


def lane_of_orders(config: ProcessorConfig) -> LaneOf | None:
    """A function from an order to its lane, which raises NoLane; None where the processor has no lanes."""
    lane = config.lane
    return None if lane is None else lambda order: value_of(lane, order)


def lane_of_files(config: ProcessorConfig) -> LaneOfPath | None:
    """A function from a file's absolute path to its lane. Raises ConfigError where files have no such field."""
    if config.lane is None:
        return None
    field = config.lane.field
    if field not in OF_FILES:
        raise ConfigError(
            f"files cannot go through {config.name}: its lane is the field {field!r}",
            hint=f"files have {', '.join(OF_FILES)}",
        )
    return lambda path: _checked(_of_path(field, path), field)


def value_of(lane: LaneConfig, order: Mapping[str, Any]) -> str:
    """The lane of an order. Raises NoLane."""
    field = lane.field
    if field in order:
        return _text(order[field], field)
    value: Any = order
    for part in field.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise NoLane(f"has no {field!r} for its lane{nearest(field, order)}")
        value = value[part]
    return _text(value, field)


def _text(value: Any, field: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str | int | float):
        return _checked(str(value), field)
    kind = "an object" if isinstance(value, Mapping) else kind_of(value)
    raise NoLane(f"{field!r} is {kind}, but a lane takes text or a number")


def _checked(text: str, field: str) -> str:
    if not text or text.isspace():
        raise NoLane(f"{field!r} is empty, but its lane needs a value")
    if len(text) > LONGEST:
        raise NoLane(f"{field!r} is longer than {LONGEST} characters, which is too long for a lane")
    if "\0" in text:
        raise NoLane(f"{field!r} holds a NUL character, which no lane can")
    return text


def _of_path(field: str, path: str) -> str:
    file = PurePath(path)
    parts = {"path": path, "name": file.name, "stem": file.stem, "suffix": file.suffix, "dir": str(file.parent)}
    return readable(parts[field])
