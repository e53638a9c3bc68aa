"""The scene of the end-to-end tests: a config with `deed` (a command) and `call` (a function)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli

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


@pytest.fixture
def scene(cli: Cli) -> Iterator[Scene]:
    """A folder with a config and its programs; nothing of it runs on after the test."""
    shutil.copy(HERE / "deed.py", cli.folder / "deed.py")
    cli.config(CONFIG)
    here = Scene(cli)
    yield here
    here.close()
