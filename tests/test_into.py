"""`into` as its users see it, on every engine."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from queuekit import Program

from batchctl.reserved import is_reserved
from batchctl.sinks import delivery

# What an order says is its result: the answer of somebody's program.
PROGRAM = "import json, sys; print(json.dumps(json.load(sys.stdin)['result']))"
ANSWER = f'command: ["{sys.executable}", -I, -S, -c, "{PROGRAM}"]'
HEAD = f"{ANSWER}, output: json, max_retries: 0"


def configure(into: str) -> None:
    path = Path("batchctl.yaml")
    path.write_text(f"worker: {{min_free: 0}}\nprocessors:\n  p: {{{HEAD}, into: {into}}}\n", encoding="utf-8")
    path.chmod(0o600)


def put_in(program: Program, *results: Any) -> str:
    """An order for each result, keys 1, 2, …; the batch's id."""
    orders = [{"id": number, "account": f"a{number}", "result": result} for number, result in enumerate(results, 1)]
    Path("orders.json").write_text(json.dumps(orders), encoding="utf-8")
    return program("enqueue", "orders", "orders.json", "-p", "p", "--print-id", "--again").out.strip()


def problems(program: Program, batch: str) -> dict[str, str]:
    """What is wrong with each item that failed."""
    items = program("show", batch, "--json").json["items"]
    failed = {item["key"]: item["error"] for item in items if item["error"]}
    assert {error["type"] for error in failed.values()} <= {"IntoFailed"}
    return {key: error["message"] for key, error in failed.items()}


def test_each_result_is_a_row(program: Program, database: Database) -> None:
    configure('{table: found, pk: key, add: {account: "{{ account }}", who: "{{ batch.user }}"}, indexes: [who]}')
    batch = put_in(program, {"a": 1}, {"a": 2, "b": [1]})
    program("run")
    assert database.query("SELECT key, a, account, who FROM found ORDER BY key") == [
        ("1", 1, "a1", "ann"),
        ("2", 2, "a2", "ann"),
    ]
    results = [json.loads(line)["result"] for line in program("results", batch).out.splitlines()]
    assert results == [{"a": 1}, {"a": 2, "b": [1]}]


def test_what_does_not_fit_fails_its_item_only(program: Program, database: Database) -> None:
    configure("{table: found, pk: id}")
    results = [{"id": 1}, 5, None, {"n": 1}, [{"id": 2}, {"id": 3}], [{"id": 4, "n": 1}, {"id": 4, "n": 2}], []]
    batch = put_in(program, *results, [{"id": 6}, {"id": 6}])
    program("run", "-j", 3, code=1)
    assert problems(program, batch) == {
        "2": "the result does not fit: a row is an object with named fields, not a number",
        "3": "the result does not fit: a row is an object with named fields, not null",
        "4": "the result does not fit: it has no 'id', which is (a part of) the primary key",
        "6": "the result does not fit: two of its rows differ, but have the same primary key: id 4",
    }
    assert database.query("SELECT id FROM found ORDER BY id") == [(1,), (2,), (3,), (6,)]


def test_again_is_no_second_row(program: Program, database: Database) -> None:
    configure("{table: found, pk: id}")
    for text in ("old", "new"):
        put_in(program, {"id": 1, "text": text})
        program("run")
    assert database.query("SELECT id, text FROM found") == [(1, "new")]


def test_a_table_that_takes_nothing_costs_no_attempt(program: Program, database: Database) -> None:
    database.change("CREATE TABLE found (id INTEGER, n INTEGER)")
    configure("{table: found, pk: id}")
    batch = put_in(program, {"id": 1}, {"id": 2})
    program("run", code=3)
    assert "neither its primary key nor unique" in program("why", batch).out
    assert {item["attempts"] for item in program("show", batch, "--json").json["items"]} == {0}
    configure("{table: elsewhere, pk: id}")
    program("run")
    assert database.query("SELECT id FROM elsewhere ORDER BY id") == [(1,), (2,)]


def test_another_file(program: Program) -> None:
    configure("{table: found, pk: id, database: data/other.db}")
    put_in(program, {"id": 1, "n": 2.5})
    program("run")
    with closing(sqlite3.connect("data/other.db")) as other:
        assert other.execute("SELECT id, n FROM found").fetchall() == [(1, 2.5)]


def test_another_file_that_is_locked_is_tried_again(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_PATIENCE", 0.01)
    configure("{table: found, pk: id, database: other.db}")
    batch = put_in(program, {"id": 1})
    with closing(sqlite3.connect("other.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        program("run", code=1)
    (item,) = program("show", batch, "--json").json["items"]
    assert item["error"]["type"] == "IntoBusy"
    assert not item["error"]["permanent"]
    program("retry", batch, "--run")
    with closing(sqlite3.connect("other.db")) as other:
        assert other.execute("SELECT id FROM found").fetchall() == [(1,)]


def test_a_store_is_no_other_file(program: Program, database: Database) -> None:
    """The store itself by its name is the store; the store of another queue is refused."""
    if database.path is not None:
        configure("{table: found, pk: id, database: queue.db}")
        put_in(program, {"id": 1})
        program("run")
        assert database.query("SELECT id FROM found") == [(1,)]
    with closing(sqlite3.connect("strange.db")) as other:
        other.execute(f"PRAGMA application_id = {0x62617463}")
        other.execute("CREATE TABLE t (x)")
    configure("{table: found, pk: id, database: strange.db}")
    batch = put_in(program, {"id": 1})
    program("run", code=3)
    assert "is the store of another queue" in program("why", batch).out


def test_lines_of_json(program: Program) -> None:
    Path("all.jsonl").write_text('"somebody\'s, without an end of line"')
    configure("{file: all.jsonl}")
    put_in(program, {"é": 1}, 5, [1, {"a": None}])
    program("run", "-j", 1)
    lines = Path("all.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ["somebody's, without an end of line", {"é": 1}, 5, 1, {"a": None}]


def test_lines_of_csv(program: Program) -> None:
    configure('{file: all.csv, add: {account: "{{ account }}"}}')
    batch = put_in(program, {"a": 'x, "y"\n', "b": [1]}, {"a": None, "b": True}, {"c": 1}, {"a": "z"})
    program("run", "-j", 1, code=1)
    assert Path("all.csv").read_text(encoding="utf-8") == 'a,b,account\n"x, ""y""\n",[1],a1\n,true,a2\nz,,a4\n'
    assert problems(program, batch) == {"3": "the result does not fit: all.csv has no column 'c'"}


def test_what_nobody_committed_is_cut_and_kept(program: Program) -> None:
    configure("{file: all.jsonl}")
    put_in(program, 1)
    program("run")
    with Path("all.jsonl").open("a") as file:
        file.write("half a li")
    put_in(program, 2)
    program("run")
    assert Path("all.jsonl").read_text() == "1\n2\n"
    assert Path("all.jsonl.cut").read_text() == "half a li"


def test_a_file_may_be_moved_away(program: Program) -> None:
    configure("{file: all.jsonl}")
    for number in (1, 2):
        put_in(program, number)
        program("run")
        Path("all.jsonl").rename(f"{number}.jsonl")
    assert Path("2.jsonl").read_text() == "2\n"


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("{table: items, pk: id}", "is a name of the store itself"),
        ("{table: t}", "`pk` is missing"),
        ("{table: t, pk: id, file: x.csv}", "takes either `table` or `file`"),
        ("{file: x.csv, pk: id}", "goes with `table` only"),
        ("{table: t, pk: id, add: {key: '{{ secrets.key }}'}}", "would be stored with each row"),
    ],
)
def test_the_config_is_refused(program: Program, into: str, message: str) -> None:
    configure(into)
    assert message in program("config", "check", code=2).out


def test_a_template_is_looked_at_when_orders_come_in(program: Program) -> None:
    configure('{table: t, pk: id, add: {who: "{{ nobody }}"}}')
    Path("orders.json").write_text('[{"id": 1, "result": {"id": 1}}]')
    refused = program("enqueue", "orders", "orders.json", "-p", "p", code=2)
    assert "has no 'nobody', which processors.p.into.add.who needs" in refused.err


def test_the_names_of_all_tables_are_the_stores_own(database: Database) -> None:
    database.open().close()
    if database.engine == "sqlite":
        tables = database.query("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")
    else:
        tables = database.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables
    assert [name for (name,) in tables if not is_reserved(name)] == []
