"""Error messages that differ only in numbers, ids, paths or quoted words, folded into one pattern. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

# The first that fits wins, so the longer shapes stand first. What looks behind saves a try at each letter of a word.
_SHAPES = (
    ("url", r"(?<![a-zA-Z])[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]*[^\s'\"<>.,:;!?)]"),
    ("mail", r"(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    ("time", r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    ("id", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("address", r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\b0x[0-9a-fA-F]+\b"),
    ("text", r"(?<!\w)'(?:[^'\\\n]|\\.)*'(?!\w)|\"(?:[^\"\\\n]|\\.)*\"|`[^`\n]*`|«[^»\n]*»|“[^”\n]*”"),
    ("path", r"(?<![\w.])(?:[A-Za-z]:\\|~?/|\.{1,2}/)[^\s'\":;,()]*[^\s'\":;,().]"),
    ("id", r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"),
    ("id", r"\b(?=\w*\d)(?=\w*[A-Za-z])\w{12,}\b"),
    ("n", r"(?<![\w.])[+-]?\d+(?:,\d{3})*(?:\.\d+)?|\d+"),
)
_ANY = re.compile("|".join(f"(?P<s{at}>{shape})" for at, (_, shape) in enumerate(_SHAPES)))
_LONGEST = 500


@lru_cache(maxsize=4096)
def fold(message: str) -> str:
    """The pattern of a message: its first line, what varies replaced by `<n>`, `<id>`, `<path>`, `<text>`, …"""
    line = next((line for line in message.splitlines() if line.strip()), "").strip()[:_LONGEST]
    return re.sub(r"\s+", " ", _ANY.sub(_name, line))


def digest(kind: str, message: str) -> int:
    """What failures of one pattern share: a number of 63 bits, the same in every process."""
    text = f"{kind}\0{fold(message)}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def _name(found: re.Match[str]) -> str:
    at = int((found.lastgroup or "s0")[1:])
    return f"<{_SHAPES[at][0]}>"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed item: its number, key, batch id, and the error it ended with."""

    item: int
    key: str
    batch: str
    type: str
    message: str
    permanent: bool


@dataclass(slots=True)
class Group:
    """Failures with one pattern; `example` is the first of them."""

    type: str
    pattern: str
    example: Failure
    count: int = 0
    keys: list[str] = field(default_factory=list)


def grouped(failures: Iterable[Failure], *, keys: int = 10) -> list[Group]:
    """The failures by type and pattern, most frequent first; up to `keys` keys of each are kept."""
    groups: dict[tuple[str, str], Group] = {}
    for failure in failures:
        pattern = fold(failure.message)
        group = groups.get((failure.type, pattern))
        if group is None:
            group = groups[failure.type, pattern] = Group(failure.type, pattern, failure)
        group.count += 1
        if len(group.keys) < keys:
            group.keys.append(failure.key)
    return sorted(groups.values(), key=lambda group: -group.count)
