"""The `steps` processor: retries, fallbacks and timeouts of single steps."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from e2e.kit import serving
from processor_kit import bench, failed, item
from stepskit import again, chain, command, names, other, ran, with_author

from batchctl.config.structs import StepsSpec
from batchctl.model import Completed, Failed, StepPath, StepTry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_author(tmp_path)


def test_a_retry_goes_on_at_the_step_that_failed(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "exit75", max_retries=2)), folder) as at:
        outcome = failed(at.do(item())[0])
        assert (outcome.error.type, outcome.error.permanent) == ("ExitCode", False)
        assert outcome.error.message.startswith("step b: exit code 75: b is not ready")
        assert at.lines[1].tries[-1] == StepTry("b", StepPath.STEP, 1)
        second = again(item(), at, number=2, attempt=2)
        at.do(second)
        assert at.lines[2].tries == [StepTry("b", StepPath.STEP, 2)]
    assert names(folder) == ["a", "b", "b"]


def test_tries_are_counted_for_each_step(folder: Path) -> None:
    """The first step took three tries; the second begins at its first."""
    with bench(chain(folder, command("a"), command("b", "exit75", max_retries=2)), folder) as at:
        at.do(item(attempt=3))
        assert at.lines[1].tries == [StepTry("a", StepPath.STEP, 3), StepTry("b", StepPath.STEP, 1)]
        at.do(again(item(attempt=3), at, number=2, attempt=4))
        assert at.lines[2].tries == [StepTry("b", StepPath.STEP, 2)]


# -- fallbacks


def test_a_fallback_is_tried_when_the_step_is_out_of_retries(folder: Path) -> None:
    first = command("a", "exit75", max_retries=1, fallback=other("plan-b"))
    with bench(chain(folder, first, command("b")), folder) as at:
        assert failed(at.do(item())[0]).error.message.startswith("step a: exit code 75")
        assert at.lines[1].kept == []
        assert isinstance(at.do(again(item(), at, number=2, attempt=2))[0], Completed)
    assert names(folder) == ["a", "a", "plan-b", "b"]
    assert ran(folder)[2][2:] == ["idem-1:a:fallback", 1]
    given_up, done, _ = at.lines[2].kept
    assert (given_up.finished, given_up.path, given_up.error and given_up.error.type) == (
        False, StepPath.FALLBACK, "ExitCode"
    )  # fmt: skip
    assert (done.finished, done.path, done.error) == (True, StepPath.FALLBACK, given_up.error)
    assert json.loads(done.result or "")["from"] == "plan-b"


def test_a_permanent_error_goes_to_the_fallback_at_once(folder: Path) -> None:
    first = command("a", "exit65", max_retries=5, fallback=other("plan-b"))
    with bench(chain(folder, first), folder) as at:
        assert isinstance(at.do(item())[0], Completed)
    assert names(folder) == ["a", "plan-b"]


def test_a_fallback_has_retries_of_its_own_and_the_step_is_not_tried_again_meanwhile(folder: Path) -> None:
    first = command("a", "exit65", fallback=other("plan-b", "exit75", max_retries=1))
    with bench(chain(folder, first), folder) as at:
        outcome = failed(at.do(item())[0])
        assert outcome.error.message.startswith("step a, fallback: exit code 75")
        at.do(again(item(), at, number=2, attempt=2))
        assert at.lines[2].tries == [StepTry("a", StepPath.FALLBACK, 2)]
    assert names(folder) == ["a", "plan-b", "plan-b"]


def test_where_there_is_a_fallback_an_outage_counts(folder: Path) -> None:
    """Its items need not wait until the receiver is back."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        first = {"name": "a", "http": {"url": url}, "max_retries": 1, "fallback": other("plan-b")}
        with bench(chain(folder, first), folder) as at:
            assert failed(at.do(item())[0]).error.type == "ConnectError"
            assert isinstance(at.do(item(2, attempt=2))[0], Completed)
    assert names(folder) == ["plan-b"]


@pytest.mark.parametrize(("heeds", "names_"), [({"rate": (10, 1.0)}, []), ({}, ["plan-b"])])
def test_being_throttled_leads_to_the_fallback_only_where_it_costs_an_attempt(
    folder: Path, heeds: dict[str, Any], names_: list[str]
) -> None:
    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(429)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    with serving(Busy) as url:
        first = {"name": "a", "http": {"url": url}, "max_retries": 0, "fallback": other("plan-b")}
        config = replace(chain(folder, first), **heeds)
        with bench(config, folder) as at:
            (outcome,) = at.do(item())
    assert isinstance(outcome, Failed if heeds else Completed)
    assert names(folder) == names_


# -- timeouts


def test_a_step_has_its_own_timeout(folder: Path) -> None:
    with bench(chain(folder, command("a"), command("b", "hold", timeout=0.2), timeout=60.0), folder) as at:
        assert failed(at.do(item())[0]).error.type == "Timeout"


def test_without_time_of_its_own_a_step_has_the_chains(folder: Path) -> None:
    config = chain(folder, command("a"), command("b", timeout=5.0), timeout=60.0, max_output=7)
    assert isinstance(config.spec, StepsSpec)
    assert [step.config.timeout for step in config.spec.steps] == [60.0, 5.0]
    assert config.timeout == 65.0
