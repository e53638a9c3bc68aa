"""`doctor` on a store that lies on a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from databases import postgres
from queuekit import program_in
from test_store_roles import Roles, Start, program, roles

from batchctl.doctor.about_server import judge
from batchctl.engines.server import Server
from batchctl.errors import StoreError
from batchctl.store import Store

__all__ = ["program", "roles"]

WELL = Server(version=160_002, connections=3, most=97, ours=2)


def test_all_is_well() -> None:
    assert {one.level for one in judge(WELL)} == {"ok"}


@pytest.mark.parametrize(
    ("wrong", "name", "level", "says"),
    [
        ({"version": 130_011}, "server", "problem", "PostgreSQL 13 is too old"),
        ({"fsync": False}, "server", "problem", "fsync is off"),
        ({"synchronous": False}, "server", "warning", "synchronous_commit is off"),
        ({"lacks": ["INSERT on items"]}, "privileges", "problem", "lacks INSERT on items"),
        ({"lacks": list("abcde")}, "privileges", "problem", "lacks a, b, c and 2 more"),
        ({"unguarded": ["later"]}, "privileges", "problem", "no row level security on later"),
        ({"superuser": True}, "privileges", "warning", "superuser"),
        ({"connections": 90}, "connections", "warning", "90 of 97 are in use, 2 of them by batchctl"),
        ({"autovacuum": False}, "autovacuum", "problem", "is off"),
        ({"dead": {"items": (70_000, 9)}}, "autovacuum", "warning", "items has 70,000 dead rows beside 9"),
        ({"oldest": 7_300.0}, "autovacuum", "warning", "open for 2.0 h"),
        ({"standby": True}, "replication", "problem", "standby"),
        ({"standbys": 2}, "replication", "ok", "2 standbys follow"),
        ({"remote": True}, "encryption", "problem", "not encrypted"),
        ({"remote": True, "tls": True}, "encryption", "warning", "nobody checks"),
        ({"remote": True, "tls": True, "checked": True}, "encryption", "ok", "is encrypted"),
        ({"shared": True}, "pooler", "problem", "gives our session to others"),
        ({"offset": 60.0}, "server clock", "warning", "60 s ahead of ours"),
        ({"offset": -60.0}, "server clock", "warning", "60 s behind ours"),
    ],
)
def test_what_is_wrong(wrong: dict[str, Any], name: str, level: str, says: str) -> None:
    (found,) = [one for one in judge(replace(WELL, **wrong)) if one.name == name]
    assert found.level == level
    assert says in found.text
    assert level == "ok" or found.mend


def test_what_each_login_is_told(roles: Roles, program: Start) -> None:
    roles.make(True)
    told = {}
    for role in ("worker", "reader"):
        checks = program(role)("doctor", "--json", code=None).json["checks"]
        told[role] = {one["name"]: one for one in checks}
        assert told[role]["autovacuum"]["level"] == "ok"
        assert "by batchctl" in told[role]["connections"]["text"]
    assert told["worker"]["privileges"]["level"] == "ok"
    assert "this login lacks DELETE on alerts" in told["reader"]["privileges"]["text"]
    with psycopg.connect(roles.database.url) as connection:
        connection.execute("CREATE TABLE later (x INT)")
        connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON later TO {roles.prefix}_worker")  # type: ignore[call-overload]
    (said,) = [
        one for one in program("worker")("doctor", "--json", code=1).json["checks"] if one["name"] == "privileges"
    ]
    assert said["text"] == "no row level security on later, but on other tables"


def test_a_superuser_is_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with postgres(tmp_path) as database, program_in(tmp_path, monkeypatch, capsys, database.url) as program:
        done = program("doctor", code=None)
    assert "warning  privileges: this login is a superuser" in done.out


def test_a_server_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres(tmp_path) as database:
        monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 130_011)
        with pytest.raises(StoreError, match="PostgreSQL 14 or later") as refused:
            Store.open(database.url, create=False)
        assert refused.value.hint
