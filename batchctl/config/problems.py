"""What is wrong in a config file, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason, in words, with its place.

    level       `error`: the config is refused; `processor`: that one cannot run; `warning`: all goes on
    path        where it is in the document, as ("processors", "x", "timeout")
    """

    level: Literal["error", "processor", "warning"]
    file: str
    mark: Mark | None
    path: Path
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.mark.line}:{self.mark.column}" if self.mark else self.file
        whose = f"{self.processor}: " if self.level == "processor" else ""
        return f"{place}: {whose}{self.text}"

    @property
    def processor(self) -> str | None:
        """The processor it concerns, if it is about one."""
        return str(self.path[1]) if len(self.path) > 1 and self.path[0] == "processors" else None


def dotted(path: Path) -> str:
    """("processors", "x", "command", 2) → `processors.x.command[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the config"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    words = {w.lower().replace("-", "_"): w for w in known}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), words, n=1, cutoff=0.6)
    return words[close[0]] if close else None


def listed(words: Iterable[str]) -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{w}`" for w in words]
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " and " + quoted[-1] if quoted else "none"
