"""`store copy` is killed half-way: the source is as it was, the target is empty, and a copy can begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli
from databases import ENGINES, Database
from stuffing import LEFT_OUT, content, stuff

from e2e.kit import Scene, die

FILL = {
    "postgres": "batchctl.engines.postgres_transfer:PostgresTransfer.fill",
    "sqlite": "batchctl.engines.sqlite_transfer:SqliteTransfer.fill",
}
COMPARE = "batchctl.moving:_compare"


@pytest.fixture(params=[("sqlite", "postgres"), ("postgres", "sqlite")], ids="-".join)
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Database, Database]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one, two = request.param
    with ENGINES[one](tmp_path, "one.db") as source, ENGINES[two](tmp_path, "two.db") as target:
        yield source, target


def test_a_copy_that_was_killed_can_be_done_anew(cli: Cli, pair: tuple[Database, Database]) -> None:
    source, target = pair
    source.open().close()
    stuff(source)
    before = content(source)
    scene = Scene(cli, source)
    copy = ("store", "copy", source.url, target.url, "--yes")
    for point, moment, number in ((FILL[target.engine], "after", 7), (COMPARE, "before", 9)):
        die(scene, point, moment, number, *copy)
        assert content(source) == before
        made = {table: rows for table, rows in content(target).items() if rows}
        assert set(made) <= {"control"}, "only what a new store has"
        assert cli.json("list", "--store", target.url)["total"] == 0
    answer = cli.json(*copy)
    assert answer["verified"] is True
    assert content(source) == before
    for table, rows in content(target).items():
        assert rows == before[table] or table in LEFT_OUT, table


def test_a_copy_that_is_killed_when_it_is_stored_is_whole(cli: Cli, pair: tuple[Database, Database]) -> None:
    """The target is refused then, for it is not empty, and it holds everything."""
    source, target = pair
    source.open().close()
    stuff(source)
    before = content(source)
    die(Scene(cli, source), "batchctl.moving:copy", "after", 1, "store", "copy", source.url, target.url, "--yes")
    assert content(source) == content(target) == before
    refused = cli.run("store", "copy", source.url, target.url, "--yes")
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
