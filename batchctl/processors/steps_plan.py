"""Which step comes next for an item, given what its steps have left behind. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from batchctl.config.structs import ProcessorConfig, StepConfig, StepsSpec
from batchctl.model import Item, Kept, StepPath, StepTry


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be done now.

    kept    what still holds of what earlier steps left behind
    mark    of this step by this path, and of all that it builds on
    """

    step: StepConfig
    position: int
    path: StepPath
    attempt: int
    mark: str
    kept: tuple[Kept, ...]

    @property
    def config(self) -> ProcessorConfig:
        if self.path is StepPath.STEP:
            return self.step.config
        assert self.step.fallback is not None
        return self.step.fallback

    @property
    def tried(self) -> StepTry:
        return StepTry(self.step.name, self.path, self.attempt)

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"step {self.step.name}" + (", fallback" if self.path is StepPath.FALLBACK else "")

    def gives_up(self, *, permanent: bool) -> bool:
        """Whether a failure now is the last word of this path."""
        return permanent or self.attempt > self.config.max_retries

    @property
    def has_other(self) -> bool:
        """Its fallback is still to be tried."""
        return self.path is StepPath.STEP and self.step.fallback is not None


def what_next(spec: StepsSpec, item: Item, kept: Iterable[Kept]) -> tuple[Next | None, tuple[Kept, ...]]:
    """The next step (None: all are done) and what holds of `kept`: a step that has changed is done again, with all
    that come after it."""
    rows = {one.step: one for one in kept}
    valid: list[Kept] = []
    mark = ""
    for position, step in enumerate(spec.steps):
        row = rows.get(step.name)
        path = StepPath.STEP
        if row is not None and row.mark == _mark(mark, step, row.path if row.finished else StepPath.STEP):
            valid.append(row)
            if row.finished:
                mark = row.mark
                continue
            if step.fallback is not None:
                path = StepPath.FALLBACK
        attempt = max(1, item.attempt - max((one.attempts_before for one in valid), default=0))
        return Next(step, position, path, attempt, _mark(mark, step, path), tuple(valid)), tuple(valid)
    return None, tuple(valid)


def _mark(before: str, step: StepConfig, path: StepPath) -> str:
    """A result by the fallback stands for both definitions: where one of them changes, the step may go otherwise."""
    own = step.mark if path is StepPath.STEP else f"{step.mark}\0{step.fallback_mark}"
    return hashlib.blake2b(f"{before}\0{step.name}\0{path}\0{own}".encode(), digest_size=16).hexdigest()


def item_of(item: Item, following: Next) -> Item:
    """The item as this step sees it: its own tries, its own idempotency key, the results of those before."""
    from msgspec.structs import replace

    suffix = following.step.name + (":fallback" if following.path is StepPath.FALLBACK else "")
    key = f"{item.idempotency_key}:{suffix}"
    return replace(item, attempt=following.attempt, idempotency_key=key, kept=following.kept)
