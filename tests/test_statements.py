"""The named statements of `sql/` and the code that runs them fit together."""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from postgres_server import cluster

from batchctl.engines import statements
from batchctl.engines.postgres_sql import compiled
from batchctl.store import Store

PACKAGE = Path(statements.__file__).parent.parent
NAMED = statements.statements("sqlite")
CODE = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
RUNNING = {"all", "one", "value", "dicts", "stream", "run", "many", "bulk"}  # of `Tx`


def pattern_of(node: ast.AST) -> str | None:
    """What a string in the code may be: itself, or an f-string as a pattern."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern_of(part) or r"\w+" for part in node.values)
    return None


def texts() -> Iterator[str]:
    return (found for tree in CODE for node in ast.walk(tree) if (found := pattern_of(node)))


def names_that_run() -> Iterator[str]:
    """The first argument of every call of a method of `Tx`, where it is written there as a string."""
    for tree in CODE:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNNING:
                name = pattern_of(node.args[0]) if node.args else None
                if name is not None:
                    yield name


def test_every_statement_is_run() -> None:
    exact = set(texts())
    families = [text for text in exact if r"_\w+" in text]
    unused = [
        name for name in NAMED if name not in exact and not any(re.fullmatch(family, name) for family in families)
    ]
    assert not unused


def test_every_name_that_is_run_is_a_statement() -> None:
    wanted = set(names_that_run())
    assert len(wanted) > len(NAMED) / 2  # the search finds what it looks for
    assert not [name for name in wanted if not any(re.fullmatch(name, statement) for statement in NAMED)]


def test_the_engines_have_the_same_statements() -> None:
    assert named_in("postgres") == named_in("sqlite")


def named_in(engine: str) -> dict[str, set[str]]:
    """The names in each file of an engine."""
    return {
        path.name: set(re.findall(r"^-- name: (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in (PACKAGE / "sql" / engine).glob("*.sql")
    }


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("statements") / "queue.db"
    Store.open(str(path), create=True).close()
    with closing(sqlite3.connect(path)) as connection:
        yield connection


@pytest.mark.parametrize("name", NAMED)
def test_the_schema_has_what_a_statement_needs(fresh: sqlite3.Connection, name: str) -> None:
    sql = NAMED[name]
    named = set(re.findall(r"(?<!:):(\w+)", sql))
    fresh.execute(f"EXPLAIN {sql}", dict.fromkeys(named) if named else [None] * sql.count("?"))


@pytest.fixture(scope="module")
def fresh_postgres() -> Iterator[psycopg.Connection]:
    with cluster().database() as url, psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("name", compiled())
def test_the_schema_on_postgresql_has_what_a_statement_needs(fresh_postgres: psycopg.Connection, name: str) -> None:
    """Prepared without a value: the types of its parameters must follow from the statement alone."""
    done = fresh_postgres.pgconn.prepare(b"", compiled()[name].sql.encode())
    assert done.status == psycopg.pq.ExecStatus.COMMAND_OK, done.error_message.decode()
