"""What every stateful test begins with and leaves: a store in a real database, two workers, a clock, and eyes."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from databases import ENGINES
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine

from batchctl.model import Item
from batchctl.store import Scope
from store import kit

WORKERS = ("w1", "w2")


class StoreMachine(RuleBasedStateMachine):
    """A subclass names its `kind`, and calls `begin` where it begins."""

    kind: str

    def begin(self, scope: Scope) -> None:
        """A fresh store, and workers of that scope with nothing in their hands."""
        self.kept = ExitStack()
        folder = self.kept.enter_context(tempfile.TemporaryDirectory())
        database = self.kept.enter_context(ENGINES[self.kind](Path(folder)))
        self.patch = self.kept.enter_context(pytest.MonkeyPatch.context())
        self.patch.setenv("XDG_STATE_HOME", folder)
        self.store = database.open()
        self.kept.callback(self.store.close)
        self.eyes = self.kept.enter_context(database.eyes())
        self.clock = kit.Clock()
        self.store.engine.now = self.clock  # type: ignore[method-assign]
        self.workers = {name: kit.Worker(self.store, name, scope) for name in WORKERS}
        self.hands: dict[str, dict[int, Item]] = {name: {} for name in WORKERS}
        self.serial = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.kept.close()


def thorough(examples: int) -> settings:
    """As many sequences of acts, unless the environment asks for another number."""
    return settings(
        max_examples=int(os.environ.get("BATCHCTL_TEST_EXAMPLES", str(examples))),
        stateful_step_count=40,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
