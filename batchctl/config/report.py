"""Collects what is wrong with a config, each with its place in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from batchctl.config.problems import Mark, Path, Problem, dotted

Mode = Literal["template", "url", "expression", "argument"]


@dataclass(frozen=True, slots=True)
class Found:
    """A template in the file; an `argument` is a template that others see in the list of processes."""

    path: Path
    source: Any
    mode: Mode


class Report:
    """Problems of one file. `values` and `keys` tell where things stand; `raw` how scalars were written;
    `templates` every template that was met."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}
        self.raw: dict[Path, str] = {}
        self.templates: list[Found] = []

    def error(self, path: Path, text: str, *, key: bool = False, mark: Mark | None = None) -> None:
        """The config is refused. With `key` the place is that of the key, not of its value."""
        self.add("error", path, text, key=key, mark=mark)

    def value_error(self, path: Path, reason: object) -> None:
        """The value at `path` is wrong: the reason is put behind its dotted name."""
        self.error(path, f"{dotted(path)}: {reason}")

    def add(
        self,
        level: Literal["error", "processor", "warning"],
        path: Path,
        text: str,
        *,
        key: bool = False,
        mark: Mark | None = None,
    ) -> None:
        problem = Problem(level, self.file, mark or self.place(path, key=key), path, text)
        if problem not in self.problems:
            self.problems.append(problem)

    def place(self, path: Path, *, key: bool = False) -> Mark | None:
        """Where that stands, or the nearest thing around it."""
        if key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return None

    def sorted(self, *levels: str) -> list[Problem]:
        """In the order of the file."""
        chosen = [p for p in self.problems if p.level in levels]
        return sorted(chosen, key=lambda p: (p.file, p.mark or Mark(0, 0)))

    @property
    def failed(self) -> bool:
        return any(p.level == "error" for p in self.problems)
