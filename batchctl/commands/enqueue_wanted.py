"""What was asked for, files or orders, and the items that come of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batchctl import console
from batchctl.errors import InvalidInput
from batchctl.intake import checks, contents, lanes, orders, selection, sources
from batchctl.intake.files import FileLimits, files
from batchctl.intake.names import readable
from batchctl.intake.problems import Problems
from batchctl.intake.target import Target
from batchctl.model import BatchKind, Incoming


@dataclass(slots=True)
class WantedFiles:
    """What `enqueue files` was asked for; `min_age` in seconds, `stored`: contents up to so many bytes are stored."""

    paths: tuple[str, ...]
    recursive: bool = False
    patterns: tuple[str, ...] = ()
    min_age: float = 0.0
    files_from: str | None = None
    null: bool = False
    stored: int | None = None
    kind: BatchKind = BatchKind.FILES
    left_out: Counter[str] = field(default_factory=Counter)

    def items(self, target: Target, problems: Problems) -> Iterator[Incoming]:
        """One item a file. Raises ConfigError where a template of the processor is wrong."""
        lacking = checks.check_of(target.config, target.secrets, files=True)
        for reason in lacking({}) if lacking else ():
            problems.add(target.name, f"a file {reason}")
        rules = selection.Selection(self.recursive, self.patterns, self.min_age, self.left_out)
        each = [FileLimits(one.who, one.accept.types, one.accept.max_file_size) for one in target.rules]
        limits = FileLimits(others=each)
        chosen = rules.files([*selection.given(self.paths), *self._listed(problems)], problems)
        return files(
            chosen,
            limits=limits,
            lane_of=lanes.lane_of_files(target.config),
            stored=self.stored,
            problems=problems,
        )

    @property
    def contents(self) -> Callable[[str], bytes] | None:
        """Reads what is to be stored of a file."""
        return None if self.stored is None else contents.read

    def nothing(self) -> InvalidInput:
        """Why there is nothing to enqueue."""
        if not self.left_out:
            return InvalidInput("nothing to enqueue: there is no file in what was named")
        return InvalidInput(f"nothing to enqueue: no file was selected ({self.left_out_text()})")

    def left_out_text(self) -> str:
        """ "2 hidden, 1 partial were left out", or nothing."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return f"left out: {reasons}" if reasons else ""

    def _listed(self, problems: Problems) -> list[tuple[str, str]]:
        if self.files_from is None:
            return []
        name = "stdin" if self.files_from == "-" else readable(self.files_from)
        try:
            data = sys.stdin.buffer.read() if self.files_from == "-" else Path(self.files_from).read_bytes()
        except (OSError, ValueError) as error:
            problems.add(name, f"cannot be read: {getattr(error, 'strerror', None) or error}")
            return []
        return selection.named_in(data, name, null=self.null, problems=problems)


@dataclass(slots=True)
class WantedOrders:
    """What `enqueue orders` was asked for."""

    sources: tuple[str, ...]
    ids: tuple[str, ...] = ()
    key: str | None = None
    limit: int | None = None
    kind: BatchKind = BatchKind.ORDERS
    contents: None = None

    def items(self, target: Target, problems: Problems) -> Iterator[Incoming]:
        """One item a record. Raises UsageError for --key, ConfigError where a template of the processor is wrong."""
        streams: list[orders.Stream] = [
            (sources.name_of(source), sources.records(source, problems, console.note)) for source in self.sources
        ]
        if self.ids:
            streams.append(("--id", orders.given_ids(self.ids, problems)))
        return orders.orders(
            streams,
            key_fields=orders.split_fields(self.key),
            limit=self.limit,
            check=checks.check_of(target.config, target.secrets, files=False),
            lane_of=lanes.lane_of_orders(target.config),
            problems=problems,
        )

    def nothing(self) -> InvalidInput:
        """Why there is nothing to enqueue."""
        return InvalidInput("nothing to enqueue: there is no order in what was named")

    def left_out_text(self) -> str:
        """Orders are never left out without a word of their own."""
        return ""


Wanted = WantedFiles | WantedOrders
