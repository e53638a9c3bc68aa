"""What others want of a worker: pauses, cancels, and the end of batches that have reached their failure limit."""

from __future__ import annotations

from collections.abc import Callable

from batchctl.contact import Contact
from batchctl.engines.base import Engine
from batchctl.transitions import bulk


class Orders:
    """Looks at the control number. `unfinished`: whether a cancel of many has more to do."""

    def __init__(self, engine: Engine, contact: Contact) -> None:
        self.unfinished = False
        self._engine = engine
        self._contact = contact
        self._seen = -1
        self._number = -1

    def are_new(self) -> bool:
        """Whether somebody has given orders since the last look; the first look only learns the number."""
        seen = self._engine.changed()
        if seen == self._seen:
            return False
        number = self._contact.keep(self._control_number)
        self._seen = seen
        first, changed = self._number == -1, number != self._number
        self._number = number
        return changed and not first

    def _control_number(self) -> int:
        with self._engine.read() as tx:
            return int(tx.value("control_number"))

    def carry_on(self, seconds: float, organization: str | None) -> None:
        """Go on with a cancel of many, so long."""
        if self.unfinished:
            self.unfinished = self._contact.keep(self._act(seconds, organization))

    def heed_limits(self, organization: str | None) -> None:
        """A batch may have reached its failure limit: begin to cancel the rest, and look at the orders anew."""
        self.unfinished = self._contact.keep(self._act(0.0, organization)) or self.unfinished
        if self._contact.keep(self._control_number) != self._number:
            self._seen = -1  # also where that was our own commit, which `changed` does not tell of

    def _act(self, seconds: float, organization: str | None) -> Callable[[], bool]:
        return lambda: bulk.carry_on(self._engine, seconds, organization)
