"""Gathers what is wrong with the input, so that it is refused once and with every reason."""

from __future__ import annotations

from batchctl.errors import InvalidInput

SHOWN = 50


class Problems:
    """Reasons in the order they were found. Only the first SHOWN are kept; all are counted."""

    def __init__(self) -> None:
        self.count = 0
        self._details: list[str] = []

    def __bool__(self) -> bool:
        return self.count > 0

    def add(self, where: str, reason: str) -> None:
        """`where` is "orders.csv:17" or a path, `reason` goes on after the colon."""
        self.count += 1
        if len(self._details) < SHOWN:
            self._details.append(f"{where}: {reason}")

    def details(self) -> list[str]:
        """The reasons for people, the last line saying how many more there are."""
        more = self.count - len(self._details)
        return [*self._details, f"… and {more:,} more"] if more else list(self._details)

    def raise_if_any(self, what: str, hint: str | None = None) -> None:
        """Raises InvalidInput where something was added; `what` names the input ("orders.csv")."""
        if self.count:
            found = "1 problem" if self.count == 1 else f"{self.count:,} problems"
            raise InvalidInput(f"{what}: {found}; nothing was enqueued", details=self.details(), hint=hint)
