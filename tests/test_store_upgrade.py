"""`store upgrade`: an older store brought forward, by several at once, and under workers of an older program."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Cli
from databases import ENGINES, Database
from e2e.kit import eventually
from queuekit import program_in

from batchctl.engines import postgres_migrations, sqlite, statements
from batchctl.errors import StoreTooNew, StoreTooOld
from batchctl.membership import Membership
from batchctl.store import Store

MODULES = {"sqlite": sqlite, "postgres": postgres_migrations}
CONFIG = """
store: q.db
worker: {lease: 3s, concurrency: 2, min_free: 0}
processors: {p: {command: [sh, -c, "sleep {{ id }}"]}}
"""
NEWEST = statements.migrations("sqlite")[-1][0]


@pytest.fixture
def old(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A store as the first version made it."""
    known = statements.migrations(database.engine)
    if database.engine == "postgres":
        database.change("DROP SCHEMA public CASCADE")
        database.change("CREATE SCHEMA public")
    with monkeypatch.context() as patch:
        patch.setattr(MODULES[database.engine], "migrations", lambda _: known[:1])
        database.open().close()
    assert version(database) == 1
    return database


def version(database: Database) -> int:
    if database.path is not None:
        with closing(sqlite3.connect(database.path)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    return int(database.query("SELECT max(number) FROM store_migrations")[0][0])


def outdate(database: Database) -> None:
    """A newer program brings the store forward."""
    if database.path is not None:
        with closing(sqlite3.connect(database.path, timeout=30)) as connection:
            connection.execute("PRAGMA user_version = 9999")
    else:
        database.change("INSERT INTO store_migrations (number, name) VALUES (9999, 'later')")


def schema(database: Database) -> list[object]:
    if database.engine == "sqlite":
        return [
            *database.query("SELECT name, sql FROM sqlite_master WHERE sql NOT LIKE 'CREATE TABLE%' ORDER BY name"),
            *database.query(
                "SELECT m.name, c.name, c.type, c.[notnull], c.dflt_value, c.pk FROM sqlite_master m, "
                "pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY m.name, c.name"
            ),
        ]  # fmt: skip
    return [
        *database.query("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"),
        *database.query(
            "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity "
            "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        ),
    ]


def test_an_older_store_becomes_like_a_new_one(
    old: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if old.engine == "postgres":  # programs of other hosts may be older
        for create in (False, True):
            with pytest.raises(StoreTooOld, match="made by an older batchctl"):
                Store.open(old.url, create=create)
        assert version(old) == 1
    monkeypatch.setenv("BATCHCTL_STORE", old.url)
    with ENGINES[old.engine](tmp_path, "new.db") as new:
        new.open().close()
        with program_in(tmp_path, monkeypatch, capsys, new.url) as program:
            done = program("--store", old.url, "store", "upgrade", "--json").json
            assert (done["before"], done["after"]) == (1, NEWEST)
            assert "nothing to do" in program("--store", old.url, "store", "upgrade").out
        assert schema(old) == schema(new)
    Store.open(old.url, create=False).close()


def test_several_at_once(old: Database, cli: Cli) -> None:
    started = [cli.start("store", "upgrade", "--json", BATCHCTL_STORE=old.url) for _ in range(4)]
    ended = [one.communicate(timeout=120) for one in started]
    assert [one.returncode for one in started] == [0] * 4, ended
    before = sorted(json.loads(out)["before"] for out, _ in ended)
    assert before[0] == 1
    assert version(old) == NEWEST
    if old.engine == "postgres":
        assert old.query("SELECT count(*) FROM store_migrations") == [(NEWEST,)]


def test_without_a_store(cli: Cli) -> None:
    done = cli.run("store", "upgrade", BATCHCTL_STORE=str(cli.folder / "none.db"))
    assert done.returncode == 4
    assert "hint: " in done.stderr
    assert not (cli.folder / "none.db").exists()


def test_a_heartbeat_notices_a_newer_store(database: Database) -> None:
    store = database.open()
    with Membership(store.engine, 60.0, 1, ["p"]) as member:
        with store.engine.write() as tx:
            member.beat(tx)
        outdate(database)
        with pytest.raises(StoreTooNew, match="upgraded the store meanwhile"), store.engine.write() as tx:
            member.beat(tx)
    store.close()


def test_a_worker_of_an_older_program_stops_and_says_why(database: Database, cli: Cli) -> None:
    """What it has done is recorded, what it holds goes back."""
    cli.store = database.url
    cli.config(CONFIG)
    cli.ok("enqueue", "orders", "--id", "0", "--id", "600", "-p", "p")
    worker = cli.start("run", "--forever")
    eventually(lambda: states(database) == {"completed": 1, "processing": 1}, "one done, one runs")
    outdate(database)
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 5, said
    assert "a newer batchctl has upgraded the store meanwhile" in said
    assert "hint: upgrade batchctl on this machine" in said
    assert "Traceback" not in said
    assert states(database) == {"completed": 1, "pending": 1}
    refused = cli.run("list")
    assert refused.returncode == 5
    assert "made by a newer batchctl" in refused.stderr


def states(database: Database) -> dict[str, int]:
    return dict(database.query("SELECT state, count(*) FROM items GROUP BY state"))
