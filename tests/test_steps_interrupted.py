"""The `steps` processor: what is kept, and what an interruption leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from processor_kit import bench, eventually, item
from stepskit import again, chain, command, held, names, with_author

from batchctl.model import Cancelled, Completed, HandedBack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_author(tmp_path)


def test_a_step_that_is_done_is_not_done_again(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "exit75", max_retries=3)), folder) as at:
        at.do(item())
    with bench(chain(folder, command("a"), command("b")), folder) as then:
        (outcome,) = then.do(again(item(), at, attempt=2))
    assert outcome == Completed({"from": "b", "with": []})
    assert names(folder) == ["a", "b", "b"]


def test_where_all_steps_are_done_the_item_is(folder: Path) -> None:
    """The end of the last one was stored, and then the rows that it was to fill were refused."""
    config = chain(folder, command("a"), command("b"))
    with bench(config, folder) as at:
        at.do(item())
        assert at.do(again(item(), at, number=2)) == [Completed({"from": "b", "with": []})]
    assert names(folder) == ["a", "b"]
    assert at.lines[2].started_at == []


def test_nothing_goes_on_before_the_result_is_kept(folder: Path) -> None:
    with bench(chain(folder, command("a", "hold"), command("b")), folder) as at:
        line = held(at, folder)
        assert names(folder) == ["a"]
        assert line.held is not None
        line.held(True)
        assert isinstance(at.end(1), Completed)


def test_what_is_not_ours_any_more_does_not_go_on(folder: Path) -> None:
    with bench(chain(folder, command("a", "hold"), command("b")), folder) as at:
        line = at.start(item())
        with line.changed:
            line.go_on = False
        (folder / "go").touch()
        assert at.end(1) == HandedBack()
    assert names(folder) == ["a"]


@pytest.mark.parametrize(("hand_back", "end"), [(True, HandedBack()), (False, Cancelled())])
def test_told_to_end_between_two_steps(folder: Path, hand_back: bool, end: object) -> None:
    with bench(chain(folder, command("a", "hold"), command("b")), folder) as at:
        line = held(at, folder)
        at.processor.cancel(1, hand_back=hand_back)
        assert line.held is not None
        line.held(True)
        assert at.end(1) == end
    assert names(folder) == ["a"]


@pytest.mark.parametrize(("hand_back", "kind"), [(True, HandedBack), (False, Cancelled)])
def test_told_to_end_within_a_step(folder: Path, hand_back: bool, kind: type) -> None:
    with bench(chain(folder, command("a"), command("b", "hold"), command("c")), folder) as at:
        at.start(item())
        eventually(lambda: "b" in names(folder))
        at.processor.cancel(1, hand_back=hand_back)
        assert isinstance(at.end(1), kind)
        assert [kept.step for kept in at.lines[1].kept] == ["a"]
    assert names(folder) == ["a", "b"]


def test_closed_in_the_middle(folder: Path) -> None:
    """One waits for its result to be kept, one runs, one has not begun."""
    with bench(chain(folder, command("a", "hold"), command("b", "exit75")), folder, width=2) as at:
        waiting = held(at, folder)
        (folder / "go").unlink()
        at.start(item(2))
        at.start(item(3))
        eventually(lambda: names(folder) == ["a", "a"])
        at.processor.close()
        assert all(isinstance(at.end(number), HandedBack) for number in (1, 2, 3))
        assert waiting.held is not None
        waiting.held(True)  # the answer comes too late, and nothing happens
    assert names(folder) == ["a", "a"]
