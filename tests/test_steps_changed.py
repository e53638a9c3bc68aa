"""The `steps` processor: which steps are done again after their definition has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from processor_kit import item
from stepskit import Step, chain, command, other, with_author

from batchctl.model import Kept, StepPath
from batchctl.processors.steps_plan import what_next


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_author(tmp_path)


def _plan(folder: Path, kept: list[Kept], *steps: Step) -> str | None:
    spec = chain(folder, *steps).spec
    following, _ = what_next(spec, item(), kept)
    return following and f"{following.step.name} {following.path}"


def _kept(folder: Path, *steps: Step, fallback: bool = False) -> list[Kept]:
    """As if these steps were done, the first by its fallback."""
    spec = chain(folder, *steps).spec
    kept: list[Kept] = []
    for n in range(len(steps)):
        following, _ = what_next(spec, item(), kept)
        assert following is not None
        if fallback and n == 0:
            kept.append(Kept(following.step.name, n, following.mark, StepPath.FALLBACK, False, 0, 0))
            following, _ = what_next(spec, item(), kept)
            assert following is not None
            kept.clear()
        kept.append(Kept(following.step.name, n, following.mark, following.path, True, 0, 0, "1"))
    return kept


Change = Callable[[Step], Step]


def _tuned(step: Step) -> Step:
    return step | {"timeout": 7.0, "max_retries": 9, "backoff": {"base": 1.0}}


def test_a_changed_step_runs_again_with_all_after_it(folder: Path) -> None:
    a, b, c = command("a"), command("b"), command("c")
    kept = _kept(folder, a, b, c)
    assert _plan(folder, kept, a, b, c) is None
    assert _plan(folder, kept, a, command("b", "other"), c) == "b step"
    renewed = _kept(folder, a, command("b", "other"))
    assert _plan(folder, [*renewed, kept[2]], a, command("b", "other"), c) == "c step"
    assert _plan(folder, kept, a, b, command("new"), c) == "new step"
    assert _plan(folder, kept, _tuned(a), _tuned(b), _tuned(c)) is None


def test_what_a_fallback_found_stands_while_both_definitions_do(folder: Path) -> None:
    a = command("a", fallback=other("plan-b"))
    kept = _kept(folder, a, fallback=True)
    assert _plan(folder, kept, a) is None
    assert _plan(folder, kept, command("a", "mended", fallback=other("plan-b"))) == "a step"
    assert _plan(folder, kept, command("a", fallback=other("plan-c"))) == "a step"
    assert _plan(folder, _kept(folder, a), command("a", fallback=other("plan-c"))) is None  # it was not needed


def test_a_secret_that_changes_changes_no_definition(folder: Path) -> None:
    from batchctl.template import Filled, Text

    def with_key(value: str) -> Step:
        return command("a", env={"KEY": Text([Filled(value, "${KEY}")])})

    assert _plan(folder, _kept(folder, with_key("one")), with_key("two")) is None
