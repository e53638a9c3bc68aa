"""YAML text to plain data, with the place of every key and value.

Read as YAML 1.2 reads it, because version 1.1 has traps: `on:` and `no` are text here and no booleans, `1:30` is no
number in base 60, `00123` keeps its zeros, and dates stay text.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, ClassVar

from batchctl.config.problems import Mark, Path
from batchctl.config.report import Report

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$")
_DEEPEST = 100
_MOST_NODES = 200_000  # aliases of aliases of aliases make a small file huge


def parse(data: bytes, report: Report) -> Any:
    """The document as dicts, lists and scalars; None where it cannot be read at all. Problems go to `report`."""
    import yaml

    try:
        text = data.decode("utf-8-sig")
        node = yaml.compose(text, Loader=_loader())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        report.error((), "this is not UTF-8 text", mark=Mark(line, 1))
        return None
    except yaml.MarkedYAMLError as error:
        report.error((), f"this is not YAML: {error.problem or error.context}", mark=_mark(error.problem_mark))
        return None
    except (yaml.YAMLError, RecursionError) as error:
        report.error((), f"this is not YAML: {getattr(error, 'reason', error)}", mark=Mark(1, 1))
        return None
    return {} if node is None else _Reader(report).read(node, ())


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """Composes only; scalars are told apart by the rules of YAML 1.2."""

        yaml_implicit_resolvers: ClassVar[dict[str | None, Any]] = {}

    for tag, pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
        Loader.add_implicit_resolver(_TAG + tag, pattern, None)
    return Loader


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


class _Reader:
    """Turns nodes into data and notes where each stands."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._above: set[int] = set()
        self._nodes = 0

    def read(self, node: Any, path: Path) -> Any:
        self._report.values.setdefault(path, _mark(node.start_mark))
        self._nodes += 1
        if len(path) > _DEEPEST:
            self._report.error((), f"nested deeper than {_DEEPEST} levels", mark=_mark(node.start_mark))
            return None
        if id(node) in self._above or self._nodes > _MOST_NODES:
            if self._nodes <= _MOST_NODES + 1:
                self._report.error(path, "this alias makes the document endless or huge", mark=_mark(node.start_mark))
            return None
        self._above.add(id(node))
        try:
            if node.id == "mapping":
                return self._mapping(node, path)
            if node.id == "sequence":
                return [self.read(child, (*path, n)) for n, child in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._above.discard(id(node))

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id == "scalar" and key_node.value == "<<" and key_node.style in (None, ""):
                self._merge(value_node, path, merged)
            elif (key := self._key(key_node, path, data)) is not None:
                self._report.keys[(*path, key)] = _mark(key_node.start_mark)
                self._report.values.pop((*path, key), None)
                data[key] = self.read(value_node, (*path, key))
        return merged | data

    def _key(self, node: Any, path: Path, data: dict[str, Any]) -> str | None:
        if node.id != "scalar" or node.value == "":
            self._report.error(path, "a key must be a word", mark=_mark(node.start_mark))
            return None
        key = str(node.value)
        if key in data:
            first = self._report.keys[(*path, key)]
            again = f"the key `{key}` stands here a second time, first in line {first.line}"
            self._report.error(path, again, mark=_mark(node.start_mark))
            return None
        return key

    def _merge(self, node: Any, path: Path, merged: dict[str, Any]) -> None:
        """`<<: *name`: earlier mappings of a list win, as in YAML 1.1."""
        sources = node.value if node.id == "sequence" else [node]
        for source in reversed(sources):
            value = self.read(source, path)
            if isinstance(value, dict):
                merged.update(value)
            else:
                self._report.error(path, "`<<` takes a mapping", mark=_mark(source.start_mark))

    def _scalar(self, node: Any, path: Path) -> Any:
        text = str(node.value)
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "str":
            return text
        self._report.raw[path] = text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if kind == "float":
            return float(text)
        self._report.error(path, f"the tag `{node.tag}` is not for a config", mark=_mark(node.start_mark))
        return None
