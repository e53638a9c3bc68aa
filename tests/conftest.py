"""Shared fixtures: a private folder with its own HOME and store, and the real program as a subprocess."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from databases import ENGINES, Database
from queuekit import Program, program_in
from warm import Warm

WARM = Warm()


@dataclass
class Cli:
    """Runs `batchctl` as a user would, in `folder`, with nothing of the developer's environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    store: str | None = None  # stands in every config instead of a file in the folder

    def environment(self, **extra: str) -> dict[str, str]:
        base = {
            "HOME": str(self.folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONWARNINGS": "error",
        }
        return base | self.env | extra

    def run(
        self, *args: str | bytes | Path, stdin: str | bytes | None = None, timeout: float = 120, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """The finished process; text in and out is UTF-8 with surrogateescape."""
        environment = self.environment(**env)
        given = stdin.encode("utf-8", "surrogateescape") if isinstance(stdin, str) else stdin
        done = WARM.run(args, self.folder, environment, given, timeout) if WARM.fits(environment) else None
        if done is None:
            done = subprocess.run(
                [sys.executable, "-m", "batchctl", *args],
                cwd=self.folder,
                env=environment,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        out, err = (
            text.decode("utf-8", "surrogateescape").replace("\r\n", "\n") for text in (done.stdout, done.stderr)
        )
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def ok(self, *args: str | bytes | Path, **kwargs: Any) -> str:
        """Standard output of a call that must end with 0."""
        done = self.run(*args, **kwargs)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *args: str | bytes | Path, code: int = 0, **kwargs: Any) -> Any:
        """The JSON document of a call with --json that must end with `code`."""
        done = self.run(*args, "--json", **kwargs)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def start(self, *args: str | bytes | Path, inside: Sequence[str] = (), **env: str) -> subprocess.Popen[str]:
        """The running program, its output in pipes; `inside` is put before the command."""
        return subprocess.Popen(
            [*inside, sys.executable, "-m", "batchctl", *args],
            cwd=self.folder,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )

    def config(self, text: str) -> Path:
        """Writes `batchctl.yaml` in the folder."""
        if self.store is not None:
            text = re.sub(r"^store: \S+\.db$", f"store: {json.dumps(self.store)}", text, flags=re.MULTILINE)
        path = self.folder / "batchctl.yaml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A fresh folder to work in, with an empty HOME."""
    (tmp_path / "home").mkdir()
    return Cli(tmp_path)


@pytest.fixture(params=sorted(ENGINES))
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty database of every engine; what an engine keeps on this host lies in the test's folder, too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with ENGINES[request.param](tmp_path) as database:
        yield database


@pytest.fixture
def program(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Program]:
    """The program called in this process, on every engine."""
    with program_in(tmp_path, monkeypatch, capsys, database.url) as program:
        yield program


def pytest_configure() -> None:
    """Ctrl-C is a matter of these tests: who starts them in the background has it ignored by all their children."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """Most tests wait for other processes half of their time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: beside them the others run, and nobody waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
