"""Progress bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchctl.console.pace import Pace
from batchctl.console.settings import is_terminal
from batchctl.console.text import remaining, safe, shorten

if TYPE_CHECKING:
    from rich.table import Table

    from batchctl.console.progress import Glimpse

_WIDE = 76  # below this many columns the rate is left out
_SHOWN = 12
_DETAILED = 4  # with more batches than these, single items have no bar
Running = Mapping[str, Sequence[tuple[str, float]]]


class Bars:
    """One bar a batch, redrawn in place; a bar that is full stays on the screen above the others."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._screen = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._screen,
            auto_refresh=False,
            redirect_stdout=is_terminal(sys.stdout),  # else it is data on its way into a pipe
            redirect_stderr=True,
            vertical_overflow="crop",
        )
        self._pace = Pace(window=10.0)
        self._ended: set[str] = set()

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, seen: Glimpse, now: float) -> None:
        """Draw what is there at `now` (monotonic seconds)."""
        for batch in seen.batches:
            self._pace.note(batch, now)
        ended = [b for b in seen.batches if b["completed_at"] is not None and b["id"] not in self._ended]
        for batch in ended:
            self._ended.add(batch["id"])
            self._live.console.print(self._rows([batch]))
            self._pace.forget(batch["id"])
        running = [batch for batch in seen.batches if batch["completed_at"] is None]
        more = seen.more + max(0, len(running) - _SHOWN)
        self._live.update(self._rows(running[:_SHOWN], more, seen.running), refresh=True)

    def end(self, seen: Glimpse, now: float) -> None:
        """The last glimpse: what it shows stays on the screen."""
        self.show(seen, now)

    def _rows(self, batches: Sequence[Mapping[str, Any]], more: int = 0, running: Running | None = None) -> Table:
        from rich.table import Table

        wide = self._screen.width >= _WIDE
        table = Table.grid(padding=(0, 1), expand=False)
        name, bar = (24, 22) if wide else (16, 12)
        table.add_column(width=name, no_wrap=True)
        table.add_column(width=bar, no_wrap=True)
        for _ in range(4 if wide else 3):
            table.add_column(no_wrap=True)
        for batch in batches:
            table.add_row(*self._row(batch, name, bar, wide=wide))
            for key, done in (running or {}).get(batch["id"], ()) if len(batches) <= _DETAILED else ():
                table.add_row(*_item_row(key, done, name, bar))
        if more:
            table.add_row(f"and {more:,} more")
        return table

    def _row(self, batch: Mapping[str, Any], name: int, bar: int, *, wide: bool) -> list[Any]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        done, total, failed = batch["processed_items"], batch["total_items"], batch["failed_items"]
        style = "yellow" if failed or batch["cancelled_items"] else "green"
        bars = ProgressBar(total=max(1, total), completed=done, width=bar, complete_style="cyan", finished_style=style)
        return [
            Text(shorten(safe(batch["name"] or batch["id"]), name)),
            bars,
            Text(f"{done:,}/{total:,}"),
            Text(f"{failed:,} failed" if failed else "", style="red"),
            *([Text(self._speed(batch), style="dim")] if wide else []),
            Text(self._rest(batch), style="dim"),
        ]

    def _speed(self, batch: Mapping[str, Any]) -> str:
        rate = self._pace.rate(batch)
        return f"{rate:,.1f}/s" if rate and batch["completed_at"] is None else ""

    def _rest(self, batch: Mapping[str, Any]) -> str:
        if batch["completed_at"] is not None:
            return str(batch["status"]) if batch["status"] != "completed_with_errors" else "with errors"
        if batch["paused"]:
            return "paused"
        left = self._pace.left(batch)
        return f"{remaining(left)} left" if left is not None else ""


def _item_row(key: str, done: float, name: int, bar: int) -> list[Any]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    title = Text(f"  {shorten(safe(key), name - 2)}", style="dim")
    return [title, ProgressBar(total=100, completed=done, width=bar, complete_style="blue"), Text(f"{done:.0f}%")]
