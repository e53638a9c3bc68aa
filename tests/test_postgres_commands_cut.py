"""Commands whose connection is lost at any statement of theirs: each answers as if nothing had been."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_proxy import Cut, Proxy, proxied
from postgres_server import cluster
from queuekit import Program, program_in

_CONFIG = """
store: {url}
processors: {{p: {{command: [echo, "{{{{ id }}}}"]}}}}
worker: {{min_free: 0}}
"""
_CONNECT = 5  # the first request that is no longer about connecting


@pytest.fixture
def far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[Program, Proxy]]:
    """The program before a server that can be cut off; tests look at it by another way."""
    with (
        cluster().database(tcp=True) as url,
        proxied(url) as (proxy, way),
        program_in(tmp_path, monkeypatch, capsys, url) as program,
    ):
        config = tmp_path / "batchctl.yaml"
        config.write_text(_CONFIG.format(url=json.dumps(way)))
        config.chmod(0o600)
        monkeypatch.delenv("BATCHCTL_STORE", raising=False)
        yield program, proxy


@contextmanager
def cut(proxy: Proxy, at: int | None, how: Cut = Cut.ASKING) -> Iterator[None]:
    proxy.arm(at, how)
    try:
        yield
    finally:
        proxy.arm(None)


QUESTIONS = (
    ("list",),
    ("show", "latest"),
    ("show", "latest/k1"),
    ("why", "latest"),
    ("errors", "latest"),
    ("history", "latest"),
    ("workers",),
    ("stats",),
    ("results", "latest", "-o", "out.csv"),
    ("doctor",),
)


@pytest.mark.parametrize("command", QUESTIONS, ids=" ".join)
def test_questions(far: tuple[Program, Proxy], command: tuple[str, ...]) -> None:
    program, proxy = far
    program.queue.add(3)
    program.queue.fail(program.queue.claim()[0])
    program(*command, code=None)
    with cut(proxy, None):
        expected = program(*command, code=None)
        count = proxy.requests
    asked = range(1, count + 1) if command == ("list",) else range(_CONNECT, count + 1, 2)
    for at in asked:
        with cut(proxy, at, list(Cut)[at // 2 % 2]):
            answer = program(*command, code=None)
        assert (answer.code, _timeless(answer.out)) == (expected.code, _timeless(expected.out)), at
    assert proxy.cuts == len(asked) > 1


def _timeless(text: str) -> str:
    """Without numbers, which are of this moment."""
    return re.sub(r"[-\d.,:<\s]+", " ", text)


def test_retry_and_cancel(far: tuple[Program, Proxy]) -> None:
    program, proxy = far
    no = program.queue.add(4)[0]
    acts, at, cuts = 0, 1, -1
    while proxy.cuts > cuts:
        acts, at, cuts = acts + 1, at + 2, proxy.cuts
        for command in (("retry", "latest", "--cancelled"), ("cancel", "latest", "-y")):
            with cut(proxy, at, list(Cut)[acts % 2]):
                program(*command)
        assert program.queue.views().batch(no)["cancelled_items"] == 4
    events = [one["event"] for one in program("history", "latest", "--json").json["history"]]
    assert events.count("cancel") == acts > 10
    assert events.count("retry") == acts - 1  # at first there was nothing to try again


@pytest.mark.parametrize("due", [True, False])
def test_check(far: tuple[Program, Proxy], due: bool) -> None:
    """What it does is done once. With work it is cut here and there; what a worker does is cut everywhere in
    store/test_postgres_faults.py."""
    program, proxy = far
    no = program.queue.add(2)[0]
    program("check")
    with cut(proxy, None):
        program.queue.add(2) if due else None
        program("check")
        count = proxy.requests
    for at in range(_CONNECT, count, 17 if due else 4):
        no = program.queue.add(2)[0] if due else no
        with cut(proxy, at, list(Cut)[at % 2]):
            program("check")
        batch = program.queue.views().batch(no)
        assert (batch["status"], batch["completed_items"]) == ("completed", 2), at
        tries = [one["outcome"] for n in (1, 2) for one in program("show", f"latest/k{n}", "--json").json["attempts"]]
        assert tries == ["completed", "completed"], at
