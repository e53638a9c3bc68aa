"""Keeps secrets out of every text that leaves the program: logs, errors, screens, the store (promise 8)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 4
_SHORTEST_LINE = 8  # of a secret with several lines, such as a private key: `-----` alone is no secret
_SHORTEST_BASE64 = 8
_UNDECODED = re.compile("[\udc80-\udcff]")  # bytes of an environment that is not UTF-8
_PLAIN_WORDS = frozenset({"true", "false", "null", "none", "http", "https", "localhost", "post"})


class Masker:
    """Replaces secret values by `***`, also where they appear percent-encoded, JSON-escaped or in base64.

    Values shorter than four characters are left alone: masking them would riddle every text with stars.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = frozenset(v for v in values if len(v) >= SHORTEST and v.lower() not in _PLAIN_WORDS)

    def __call__(self, text: str) -> str:
        """The text without secrets; the very same object where it holds none."""
        return text if self._replace is None else self._replace(text)

    mask = __call__

    @property
    def empty(self) -> bool:
        return not self._values

    @cached_property
    def longest(self) -> int:
        """Length of the longest form: what a reader of a stream must keep back to see a secret whole."""
        return max(map(len, self._forms), default=0)

    def value(self, value: Any) -> Any:
        """The same for strings anywhere in lists and mappings, keys included."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {self.value(k): self.value(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v) for v in value]
        return value

    @cached_property
    def _forms(self) -> frozenset[str]:
        return frozenset(form for value in self._values for form in _forms(value))

    @cached_property
    def _replace(self) -> Callable[[str], str] | None:
        if not self._forms:
            return None
        pattern = re.compile(_trie(self._forms))
        return lambda text: pattern.sub(MASK, text)


def _forms(value: str) -> Iterator[str]:
    """Every way in which a value may be written in a text."""
    lines = [line.strip() for line in value.splitlines()]
    for text in {value, value.strip(), *(line for line in lines if len(line) >= _SHORTEST_LINE)}:
        if len(text) < SHORTEST:
            continue
        raw = text.encode("utf-8", "surrogateescape" if _UNDECODED.search(text) else "surrogatepass")
        yield text
        yield from (quote(raw, safe=""), quote(raw), quote_plus(raw))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        yield from _base64_forms(raw)


def _base64_forms(raw: bytes) -> Iterator[str]:
    """What stays the same of its base64 wherever in a longer text it stands, such as `user:password`."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii")
        first = -(-shift * 8 // 6)
        last = (shift + len(raw)) * 8 // 6
        stable = encoded[first:last]
        if len(stable) >= _SHORTEST_BASE64:
            yield stable
            yield stable.replace("+", "-").replace("/", "_")


def _trie(words: Iterable[str]) -> str:
    """A pattern that matches the longest of the words, in time that hardly depends on how many there are."""
    root: dict[str, Any] = {}
    for word in words:
        node = root
        for char in word:
            node = node.setdefault(char, {})
        node[""] = {}
    return _pattern(root)


def _pattern(node: dict[str, Any]) -> str:
    literal = ""
    while len(node) == 1 and "" not in node:  # no fork: no group, and no recursion for long words
        ((char, node),) = node.items()
        literal += re.escape(char)
    branches = [re.escape(char) + _pattern(below) for char, below in sorted(node.items()) if char]
    if not branches:
        return literal
    return f"{literal}(?:{'|'.join(branches)}){'?' if '' in node else ''}"
