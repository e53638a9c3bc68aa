"""`store roles`: each role logs in to a real server and tries what it may and what it must not."""

# ruff: noqa: S608 - the names in statements are those of the schema

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from databases import Database, postgres
from psycopg import sql
from queuekit import Program, program_in
from stuffing import LEFT_OUT, columns_of, stuff

from batchctl.engines.postgres_roles import tenant_role
from batchctl.errors import UsageError
from batchctl.store import Store

CONFIG = "defaults: {max_retries: 0}\nprocessors:\n  p: {command: [sh, -c, 'test {{ key }} != k1']}\n"
# What belongs to no organization, and so is hidden from who sees one alone.
OF_NOBODY = {"control", "outages", "paces", "processors", "sinks", "watches", "workers"}


@dataclass
class Roles:
    """The roles of a store; `scripts` that were run are printed by the store itself."""

    database: Database
    prefix: str = field(default_factory=lambda: f"t_{secrets.token_hex(4)}")

    def make(self, rows: bool | None = None, *tenants: str) -> str:
        store = self.database.open()
        script = store.engine.upkeep().roles(self.prefix, rows, tenants)
        store.close()
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(script)  # type: ignore[call-overload]
            for (name,) in connection.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (self.prefix,)
            ):
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD 'sesame'").format(sql.Identifier(name)))
        return script

    def url(self, name: str) -> str:
        parts = urlsplit(self.database.url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{self.prefix}_{name}:sesame@{place}")).replace(":///", "://@/")

    def login(self, name: str) -> psycopg.Connection:
        return psycopg.connect(self.url(name), autocommit=True)

    def change(self, statement: str) -> None:
        self.database.change(statement.replace("PREFIX", self.prefix))

    def forget(self) -> None:
        """They belong to the whole server."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            found = connection.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", (self.prefix,))
            for (name,) in found.fetchall():
                connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Roles]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with postgres(tmp_path) as database:
        roles = Roles(database)
        database.open().close()
        yield roles
        roles.forget()


Start = Callable[[str], Program]


@pytest.fixture
def program(
    roles: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Start]:
    """The program of somebody who has that role."""
    (tmp_path / "batchctl.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "batchctl.yaml").chmod(0o600)
    opened = []

    def start(role: str) -> Program:
        opened.append(program_in(tmp_path, monkeypatch, capsys, roles.url(role)))
        return opened[-1].__enter__()

    yield start
    for one in reversed(opened):
        one.__exit__(None, None, None)


def refuses(connection: psycopg.Connection, statement: str) -> bool:
    try:
        connection.execute(statement)  # type: ignore[call-overload]
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


# the worker


@pytest.mark.parametrize("how", ["plain", "rls", "rls-without-bypass"])
def test_a_worker_may_do_all_work(roles: Roles, program: Start, how: str) -> None:
    roles.make(rows=how != "plain")
    if how == "rls-without-bypass":
        roles.change("ALTER ROLE PREFIX_worker NOBYPASSRLS")
    batchctl = program("worker")
    many = [word for number in range(1, 80) for word in ("--id", f"k{number}")]  # enough for COPY
    batchctl("enqueue", "orders", *many, "-p", "p", "--org", "acme", "--skip-known")
    batchctl("pause", "latest")
    batchctl("resume", "latest")
    batchctl("set", "latest", "--priority", "high")
    assert batchctl("run", "--json", code=1).json["completed"] == 78
    batchctl("retry", "latest")
    batchctl("check")
    batchctl("cancel", "latest", code=None)
    batchctl("enqueue", "orders", "--id", "k2", "-p", "p", "--org", "acme", "--skip-known")
    assert batchctl("stats", "--json").json
    batchctl("doctor", code=None)
    batchctl("cleanup", "--older-than", "0s", "--yes")
    assert batchctl("list", "--json").json["total"] == 0


@pytest.mark.parametrize("rows", [False, True])
def test_what_a_worker_must_not(roles: Roles, rows: bool) -> None:
    roles.make(rows, *(["acme"] if rows else []))
    with roles.login("worker") as worker:
        for table in columns_of(roles.database):
            for statement in ("TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD x INT", "CREATE INDEX ON {} ((1))"):
                assert refuses(worker, statement.format(table)), f"{statement} {table}"
        assert refuses(worker, "CREATE TABLE mine (x INT)")
        assert refuses(worker, "INSERT INTO store_migrations (number, name) VALUES (99, 'x')")
        assert refuses(worker, "DELETE FROM store_migrations")
        if rows:
            assert refuses(worker, "SELECT * FROM store_tenants")
            assert refuses(worker, "INSERT INTO store_tenants VALUES ('x', 'acme', true)")
            assert refuses(worker, "ALTER TABLE items DISABLE ROW LEVEL SECURITY")


def test_a_worker_cannot_upgrade(roles: Roles, program: Start) -> None:
    roles.make()
    batchctl = program("worker")
    roles.change("DELETE FROM store_migrations WHERE number > 1")
    refused = batchctl("list", code=5).err
    assert "made by an older batchctl" in refused
    assert "batchctl store upgrade" in refused
    assert "Traceback" not in batchctl("store", "upgrade", code=5).err


# the owner


def test_an_owner_may_upgrade(roles: Roles) -> None:
    roles.make(True, "acme")
    with roles.login("owner") as owner:
        owner.execute("ALTER TABLE items ADD later INT")
        owner.execute("CREATE TABLE laters (item_id BIGINT)")
    with roles.login("worker") as worker:
        worker.execute("INSERT INTO laters VALUES (1)")
    with roles.login("reader_acme") as reader:
        assert refuses(reader, "SELECT * FROM laters")  # nobody has said yet whose rows they are


# readers


def test_a_reader_reads(roles: Roles, program: Start) -> None:
    roles.make()
    program("worker")("enqueue", "orders", "--id", "k2", "-p", "p", "--run")
    batchctl = program("reader")
    for command in (
        ["show", "latest"],
        ["results", "latest"],
        ["stats"],
        ["workers"],
        ["history", "latest"],
        ["why", "latest"],
    ):
        batchctl(*command)
    assert batchctl("list", "--json").json["total"] == 1


def test_what_a_reader_must_not(roles: Roles, program: Start) -> None:
    roles.make()
    with roles.login("reader") as reader:
        for table, columns in columns_of(roles.database).items():
            reader.execute(f"SELECT * FROM {table}")  # type: ignore[call-overload]
            name = columns[0][0]
            for statement in (
                f"DELETE FROM {table}",
                f"UPDATE {table} SET {name} = {name}",
                f"INSERT INTO {table} DEFAULT VALUES",
            ):
                assert refuses(reader, statement), statement
        assert refuses(reader, "SELECT nextval('items_id_seq')")
        assert refuses(reader, "SELECT setval('items_id_seq', 1)")
        assert refuses(reader, "CREATE TABLE mine (x INT)")
    refused = program("reader")("enqueue", "orders", "--id", "1", "-p", "p", code=5).err
    assert "may not be written" in refused
    assert "hint: " in refused


@pytest.fixture
def tenants(roles: Roles) -> Roles:
    """Two organizations with a row in each table, and a reader of each."""
    stuff(roles.database, 2, organizations=("acme", "globex"), without=set())
    roles.make(True, "acme", "globex")
    return roles


def test_a_tenant_sees_its_rows_alone(tenants: Roles) -> None:
    tables = columns_of(tenants.database)
    with tenants.login("reader_acme") as acme, tenants.login("reader_globex") as globex:
        for table in tables:
            seen = [one.execute(f"SELECT * FROM {table}").fetchall() for one in (acme, globex)]  # type: ignore[call-overload]
            if table in OF_NOBODY:
                assert seen == [[], []], f"{table} belongs to no organization, and is shown"
                continue
            assert [len(rows) for rows in seen] == [1, 1], f"{table}: whose rows are they?"
            assert sorted(map(repr, seen[0] + seen[1])) == sorted(
                map(repr, tenants.database.query(f"SELECT * FROM {table}"))
            )
            if "organization" in dict(tables[table]):
                assert acme.execute(f"SELECT organization FROM {table}").fetchall() == [("acme",)]  # type: ignore[call-overload]


def test_every_table_is_guarded(tenants: Roles) -> None:
    open_ones = tenants.database.query(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relrowsecurity "
        "AND relnamespace = current_schema()::regnamespace AND relname NOT LIKE 'store%'"
    )
    assert open_ones == []


def test_a_tenant_cannot_get_out(tenants: Roles) -> None:
    prefix = tenants.prefix
    with tenants.login("reader_acme") as acme:
        for statement in (
            "SELECT * FROM store_tenants",
            f"INSERT INTO store_tenants VALUES ('{prefix}_reader_acme', 'globex')",
            f"UPDATE store_tenants SET everything = true WHERE role_name = '{prefix}_reader_acme'",
            "ALTER TABLE items DISABLE ROW LEVEL SECURITY",
            "DROP POLICY store_reader ON items",
            "CREATE POLICY mine ON items USING (true)",
            "CREATE OR REPLACE FUNCTION store_sees_all(who NAME) RETURNS BOOLEAN LANGUAGE sql AS 'SELECT true'",
            "CREATE FUNCTION mine() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
            f"SET ROLE {prefix}_owner",
            f"SET ROLE {prefix}_worker",
            f"SET ROLE {prefix}_reader_globex",
            f"SET SESSION AUTHORIZATION {prefix}_owner",
            f"ALTER ROLE {prefix}_reader_acme BYPASSRLS",
            "DELETE FROM items",
            "COPY items TO '/tmp/items'",
            f"GRANT {prefix}_owner TO {prefix}_reader_acme",
        ):  # fmt: skip
            assert refuses(acme, statement), statement
        other = acme.execute("SELECT store_organizations(%s), store_sees_all(%s)", [f"{prefix}_reader_globex"] * 2)
        assert other.fetchone() == ([], False)
        acme.execute("SET row_security = off")
        assert refuses(acme, "SELECT * FROM items")
        acme.execute("SET row_security = on")
        for setting in ("batchctl.organization", "store.organization", "app.tenant"):
            acme.execute("SELECT set_config(%s, 'globex', false)", [setting])
        acme.execute(f"SET ROLE {prefix}_reader")  # its own group, which nobody has given anything
        assert acme.execute("SELECT count(*) FROM items").fetchone() == (0,)
        acme.execute("RESET ROLE")
        assert acme.execute("SELECT count(*) FROM items").fetchone() == (1,)


def test_a_function_of_a_tenant_is_shown_no_other_rows(tenants: Roles) -> None:
    """A cheap one would be called first, for every row, if that were let be."""
    heard = []
    with tenants.login("reader_acme") as acme:
        acme.add_notice_handler(lambda note: heard.append(note.message_primary))
        acme.execute(
            "CREATE FUNCTION pg_temp.tell(t TEXT) RETURNS BOOLEAN LANGUAGE plpgsql COST 0.0000001 AS "
            "$$ BEGIN RAISE NOTICE '%', t; RETURN true; END $$"
        )
        acme.execute("SELECT count(*) FROM item_data WHERE pg_temp.tell(payload)")
        acme.execute("SELECT count(*) FROM items WHERE pg_temp.tell(organization)")
    assert len(heard) == 2
    assert heard[1] == "acme"


def test_commands_of_a_tenant(roles: Roles, program: Start) -> None:
    roles.make(True, "acme")
    worker = program("worker")
    for org in ("acme", "globex"):
        worker("enqueue", "orders", "--id", f"{org}-1", "-p", "p", "--org", org, "--name", org, "--run")
    acme = program("reader_acme")
    assert [one["organization"] for one in acme("list", "--json").json["batches"]] == ["acme"]
    assert acme("results", "acme").out.count("\n") == 1
    acme("show", "globex", code=4)
    acme("results", "globex", code=4)
    assert acme("find", "globex-1", "--json").json["items"] == []
    for command in (["show", "acme"], ["why", "acme"], ["history", "acme"], ["stats"], ["errors"], ["workers"]):
        answer = acme(*command)
        assert "globex" not in answer.out + answer.err


def test_the_plain_reader_sees_what_it_is_given(tenants: Roles) -> None:
    with tenants.login("reader") as reader:
        count = "SELECT count(*) FROM items"
        assert reader.execute(count).fetchone() == (0,)
        tenants.change("INSERT INTO store_tenants VALUES ('PREFIX_reader', '', true)")
        assert reader.execute(count).fetchone() == (2,)
        assert reader.execute("SELECT count(*) FROM workers").fetchone() == (2,)
    with tenants.login("reader_acme") as acme:  # a member of the plain reader
        assert acme.execute(count).fetchone() == (1,)


# the script


def test_it_may_be_run_again_and_keeps_what_is(tenants: Roles) -> None:
    tenants.make()
    with tenants.login("reader_acme") as acme:
        assert acme.execute("SELECT organization FROM items").fetchall() == [("acme",)]
    tenants.make(False)
    with tenants.login("reader_acme") as acme:
        assert acme.execute("SELECT count(*) FROM items").fetchone() == (2,)


def test_tables_of_users_are_left_to_them(roles: Roles) -> None:
    roles.change("CREATE TABLE jobs (organization TEXT)")
    roles.change("INSERT INTO jobs VALUES ('acme')")
    roles.make(True, "acme")
    with roles.login("worker") as worker, roles.login("reader_acme") as acme:
        worker.execute("INSERT INTO jobs VALUES ('acme')")
        assert acme.execute("SELECT * FROM jobs").fetchall() == []


def test_names_of_tenants() -> None:
    names = [tenant_role("batchctl_reader", one) for one in ("acme", "Acme", "acme!", "Ümläut 'x'", "x" * 99, "x" * 98)]
    assert names[0] == "batchctl_reader_acme"
    assert len(set(names)) == len(names)
    assert all(len(name.encode()) <= 63 for name in names)


def test_an_organization_with_quotes(roles: Roles) -> None:
    nasty = """it's "quoted" \\ $$ -- ; DROP TABLE items"""
    stuff(roles.database, 2, organizations=(nasty, "globex"), without=LEFT_OUT)
    roles.make(None, nasty)
    with psycopg.connect(
        roles.url(tenant_role(f"{roles.prefix}_reader", nasty).removeprefix(f"{roles.prefix}_"))
    ) as one:
        assert one.execute("SELECT organization FROM items").fetchall() == [(nasty,)]


def test_a_file_has_no_roles(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "queue.db"), create=True)
    with pytest.raises(UsageError, match="no roles"):
        store.engine.upkeep().roles("batchctl", None, [])
    store.close()
