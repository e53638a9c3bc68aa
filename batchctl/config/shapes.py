"""What a value in the config may look like: each shape checks and converts, and describes itself as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from batchctl import duration
from batchctl.config.problems import Path, dotted, listed, nearest
from batchctl.config.report import Found, Mode, Report
from batchctl.template import Text


class Bad:
    """What a shape returns for a value that it has reported."""


BAD = Bad()
_YES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Shape(Protocol):
    def read(self, value: Any, path: Path, report: Report) -> Any:
        """The converted value; BAD after a report."""

    def schema(self) -> dict[str, Any]: ...


def is_missing(value: Any) -> bool:
    """It holds a `${…}` that could not be filled in, so nothing can be said of it."""
    return isinstance(value, Text) and any(part.missing for part in value.filled)


def kind_of(value: Any) -> str:
    """How people call such a value."""
    names = {bool: "true or false", int: "a number", float: "a number", dict: "a mapping", list: "a list"}
    return "nothing" if value is None else names.get(type(value), "text")


def shown(value: Any) -> str:
    """The value for a message; what came from `${…}` may be a secret and is not told."""
    return "what `${…}` gave" if isinstance(value, Text) else f"`{value}`"


def wrong(value: Any, wanted: str, path: Path, report: Report) -> Bad:
    report.value_error(path, f"{kind_of(value)} stands here; it takes {wanted}")
    return BAD


@dataclass(eq=False, repr=False)
class Anything:
    """Any YAML value; strings in it are templates, expressions or neither, as `mode` says."""

    mode: Mode | None = "template"

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if self.mode:
            report.templates.append(Found(path, value, self.mode))
        return value

    def schema(self) -> dict[str, Any]:
        return {}


@dataclass(eq=False, repr=False)
class Words:
    """Text; numbers and booleans are taken as they were written."""

    pattern: str | None = None
    wanted: str = "text"
    empty: bool = False
    mode: Mode | None = None

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if isinstance(value, bool | int | float):
            value = report.raw.get(path, str(value))
        if not isinstance(value, str):
            return wrong(value, self.wanted, path, report)
        if self.mode:
            report.templates.append(Found(path, value, self.mode))
        if is_missing(value):
            return value
        if not self.empty and not value.strip():
            report.value_error(path, f"it is empty; it takes {self.wanted}")
            return BAD
        if self.pattern and not re.fullmatch(self.pattern, value):
            report.value_error(path, f"{shown(value)} does not fit; it takes {self.wanted}")
            return BAD
        return value

    def schema(self) -> dict[str, Any]:
        if self.pattern:
            return {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        return {"type": ["string", "number", "boolean"]}


@dataclass(eq=False, repr=False)
class Flag:
    def read(self, value: Any, path: Path, report: Report) -> Any:
        if isinstance(value, bool) or is_missing(value):
            return value
        if isinstance(value, str) and value.lower() in _YES:
            return _YES[value.lower()]
        return wrong(value, "true or false", path, report)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(eq=False, repr=False)
class Number:
    least: float = 0
    most: float = 1_000_000_000
    whole: bool = True

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if is_missing(value):
            return BAD
        wanted = f"a {'whole ' if self.whole else ''}number from {self.least:g} to {self.most:g}"
        given = value
        if isinstance(value, Text) and re.fullmatch(r"-?\d+(\.\d+)?", value):
            value = float(value) if "." in value else int(value)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return wrong(value, wanted, path, report)
        if not self.least <= value <= self.most:
            report.value_error(path, f"{shown(given)} is out of range; it takes {wanted}")
            return BAD
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer" if self.whole else "number", "minimum": self.least, "maximum": self.most}


@dataclass(eq=False, repr=False)
class Measured:
    """A duration, a size, a rate: text that a parser of `duration.py` understands."""

    parse: Callable[[Any], Any]
    wanted: str
    words: tuple[str, ...] = ()
    numbers: bool = True
    least: float | None = None

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if is_missing(value):
            return BAD
        if value in self.words:
            return value
        takes = str | int | float if self.numbers else str
        if isinstance(value, bool) or not isinstance(value, takes):
            return wrong(value, self.wanted, path, report)
        try:
            parsed = self.parse(value)
        except ValueError as error:
            hidden = f"{shown(value)} does not fit; it takes {self.wanted}"
            report.value_error(path, hidden if isinstance(value, Text) else error)
            return BAD
        if self.least is not None and parsed < self.least:
            report.value_error(path, f"{shown(value)} is too little; it takes {self.wanted}")
            return BAD
        return parsed

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number"] if self.numbers else "string", "description": self.wanted}


@dataclass(eq=False, repr=False)
class Choice:
    options: tuple[str, ...]

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if value in self.options or is_missing(value):
            return str(value)
        if not isinstance(value, str):
            return wrong(value, listed(self.options), path, report)
        close = None if isinstance(value, Text) else nearest(value, self.options)
        meant = f"; did you mean `{close}`?" if close else ""
        report.value_error(path, f"{shown(value)} is none of {listed(self.options)}{meant}")
        return BAD

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.options)}


@dataclass(eq=False, repr=False)
class OneOf:
    """The first shape whose kind of YAML value fits reads it."""

    shapes: tuple[tuple[type | tuple[type, ...], Shape], ...]
    wanted: str

    def read(self, value: Any, path: Path, report: Report) -> Any:
        for kinds, shape in self.shapes:
            fits = isinstance(value, kinds) and not (isinstance(value, bool) and kinds is not bool)
            if fits:
                return shape.read(value, path, report)
        return wrong(value, self.wanted, path, report)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [shape.schema() for _, shape in self.shapes]}


@dataclass(eq=False, repr=False)
class ListOf:
    """A list; with `single` one value will do for a list of one."""

    of: Shape
    single: bool = False
    least: int = 0
    wanted: str = "a list"

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if self.single and not isinstance(value, list):
            one = self.of.read(value, path, report)
            return BAD if one is BAD else [one]
        if not isinstance(value, list):
            return wrong(value, self.wanted, path, report)
        if len(value) < self.least:
            report.value_error(path, f"it is empty; it takes {self.wanted}")
            return BAD
        parts = [self.of.read(part, (*path, n), report) for n, part in enumerate(value)]
        return BAD if any(part is BAD for part in parts) else parts

    def schema(self) -> dict[str, Any]:
        of: dict[str, Any] = {"type": "array", "items": self.of.schema()}
        if self.least:
            of["minItems"] = self.least
        return {"anyOf": [self.of.schema(), of]} if self.single else of


@dataclass(eq=False, repr=False)
class MapOf:
    of: Shape
    names: str | None = None
    wanted: str = "a mapping"

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return wrong(value, self.wanted, path, report)
        for name in value:
            if self.names and not re.fullmatch(self.names, name):
                report.error((*path, name), f"`{name}` cannot be a name in {dotted(path)}", key=True)
        parts = {name: self.of.read(part, (*path, name), report) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not BAD}

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "additionalProperties": self.of.schema()}
        return schema | ({"propertyNames": {"pattern": f"^(?:{self.names})$"}} if self.names else {})


@dataclass(eq=False, repr=False)
class Key:
    """One key of an object; `null` stands for leaving it out unless `nullable`."""

    shape: Shape
    doc: str
    required: bool = False
    nullable: bool = False


@dataclass(eq=False, repr=False)
class Object:
    """A mapping with known keys. Reads to the keys that are present and right."""

    keys: Mapping[str, Key]
    check: Callable[[dict[str, Any], Path, Report], None] | None = None

    def read(self, value: Any, path: Path, report: Report) -> Any:
        if not isinstance(value, dict):
            return wrong(value, "a mapping", path, report)
        self._unknown(value, path, report)
        found: dict[str, Any] = {}
        for name, key in self.keys.items():
            if name not in value or (value[name] is None and not key.nullable):
                if key.required:
                    report.error(path, f"`{name}` is missing in {dotted(path)}")
                continue
            part = key.shape.read(value[name], (*path, name), report)
            if part is not BAD:
                found[name] = part
        if self.check:
            self.check(value, path, report)
        return found

    def _unknown(self, value: dict[str, Any], path: Path, report: Report) -> None:
        for name in value:
            if name in self.keys:
                continue
            close = nearest(name, self.keys)
            meant = f"did you mean `{close}`?" if close else f"known here: {listed(self.keys)}"
            report.error((*path, name), f"unknown key `{name}` in {dotted(path)}; {meant}", key=True)

    def schema(self) -> dict[str, Any]:
        properties = {name: key.shape.schema() | {"description": key.doc} for name, key in self.keys.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name, key in self.keys.items() if key.required]
        return schema | ({"required": required} if required else {})


def seconds(
    wanted: str = "a duration such as 30s, 15m or 1h30m", *, words: tuple[str, ...] = (), least: float = 0
) -> Shape:
    return Measured(duration.duration, wanted, words=words, least=least)


def bytes_() -> Shape:
    return Measured(duration.size, "a size such as 500KB, 50MB or 2GiB")
