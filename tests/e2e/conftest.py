"""The scene of the end-to-end tests: a config with `deed` (a command) and `call` (a function)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli
from databases import ENGINES, Database, sqlite

from e2e.kit import Scene

HERE = Path(__file__).parent
CONFIG = f"""
store: q.db
worker: {{concurrency: 2, lease: 60s, grace: 30s, max_crashes: 2, min_free: 0}}
defaults: {{max_retries: 0, timeout: 60s, backoff: {{base: 50ms, factor: 1, max: 1s, jitter: 0}}}}
processors:
  deed: {{command: ["{sys.executable}", -I, -S, deed.py]}}
  stubborn: {{command: ["{sys.executable}", -I, -S, deed.py], max_retries: 3}}
  call: {{python: "work:call"}}
"""


@pytest.fixture(params=sorted(ENGINES))
def scene(request: pytest.FixtureRequest, cli: Cli) -> Iterator[Scene]:
    """A folder with a config and its programs, on every engine; nothing of it runs on after the test."""
    with ENGINES[request.param](cli.folder, "q.db") as database:
        yield from _scene(cli, database)


@pytest.fixture
def file_scene(cli: Cli) -> Iterator[Scene]:
    """The same for tests of the store's file."""
    with sqlite(cli.folder, "q.db") as database:
        yield from _scene(cli, database)


def _scene(cli: Cli, database: Database) -> Iterator[Scene]:
    shutil.copy(HERE / "deed.py", cli.folder / "deed.py")
    if database.path is None:
        cli.store = database.url
    cli.config(CONFIG)
    here = Scene(cli, database)
    yield here
    here.close()
