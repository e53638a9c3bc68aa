"""A store on PostgreSQL as a user meets it: URLs, passwords, and what is said where it can't be used."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pytest
from conftest import Cli
from postgres_server import OWNER, PASSWORD, cluster

from batchctl.engines.postgres_folder import private_folder
from batchctl.urls import without_password


@pytest.fixture
def url() -> Iterator[str]:
    """A database without a store, over TCP, with the password in its URL."""
    with cluster().database(empty=True, tcp=True) as url:
        if urlsplit(url).password is None:
            pytest.skip("the server that BATCHCTL_TEST_POSTGRES names wants no password")
        yield url


def bare(url: str) -> str:
    """The same without the password."""
    return without_password(url)


def test_the_whole_way(cli: Cli, url: str) -> None:
    config = "processors:\n  p: {command: [echo, hi]}\n"
    cli.config(f"store: {bare(url).replace('@', ':${DB_PASSWORD|url}@')}\n{config}")
    cli.env["DB_PASSWORD"] = unquote(urlsplit(url).password or "")
    shown = []
    for args in (
        ["list"],
        ["run"],
        ["show", "latest"],
        ["config", "show"],
        ["config", "check"],
        ["enqueue", "orders", "--id", "1", "--id", "2"],
        ["run", "-vv"],
        ["show", "latest"],
        ["find", "2"],
        ["results", "latest"],
        ["history", "latest"],
        ["errors"],
        ["workers"],
        ["init", "new", "--store", url],
    ):
        done = cli.run(*args)
        assert done.returncode == (4 if args == ["show", "latest"] and len(shown) < 6 else 0), done.stderr
        shown.append(done.stdout + done.stderr)
    assert cli.json("show", "latest")["summary"]["completed"] == 2
    assert_hidden("\n".join(shown), url)
    assert "there is no store yet" in shown[2]


def assert_hidden(text: str, url: str) -> None:
    password = urlsplit(url).password or ""
    assert not [form for form in (password, unquote(password), PASSWORD, quote(PASSWORD)) if form and form in text]


@pytest.mark.parametrize("way", ["PGPASSWORD", "PGPASSFILE", ".pgpass", "passfile"])
def test_the_password_may_stand_elsewhere(cli: Cli, url: str, way: str) -> None:
    parts = urlsplit(url)
    password = unquote(parts.password or "")
    named, env = bare(url), {}
    if way == "PGPASSWORD":
        env["PGPASSWORD"] = password
    else:
        place = cli.folder / ("home/.pgpass" if way == ".pgpass" else "passwords")
        place.write_text(f"*:*:*:{parts.username}:{password}\n", encoding="utf-8")
        place.chmod(0o600)
        if way == "PGPASSFILE":
            env["PGPASSFILE"] = str(place)
        if way == "passfile":
            named += f"?passfile={quote(str(place), safe='')}"
    done = cli.run("list", "--store", named, "--json", **env)
    assert done.returncode == 0, done.stderr


@contextmanager
def made(url: str, sql: str) -> Iterator[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        for part in sql.split(";"):
            connection.execute(part)  # type: ignore[call-overload]
    yield url


def refused(cli: Cli, url: str, code: int, kind: str, *says: str, command: tuple[str, ...] = ("list",)) -> None:
    """The command ends so, says what to do next, and nothing of the password."""
    done = cli.run("--store", url, *command)
    assert done.returncode == code, done.stdout + done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    for text in says:
        assert text in done.stderr
    error = json.loads(cli.run("--store", url, "--json", *command).stdout)["error"]
    assert (error["type"], error["code"]) == (kind, code)
    assert_hidden(done.stderr + str(error), url)


def test_a_wrong_password(cli: Cli, url: str) -> None:
    wrong = url.replace(f":{urlsplit(url).password}@", ":Wr0ngOne@")
    refused(cli, wrong, 5, "StoreError", "password", ".pgpass")
    assert "Wr0ngOne" not in cli.run("list", "--store", wrong).stderr


def test_no_password(cli: Cli, url: str) -> None:
    refused(cli, bare(url), 5, "StoreError", "a password is needed", "PGPASSWORD")


def test_a_database_that_is_not_there(cli: Cli, url: str) -> None:
    refused(cli, f"{url}_not_there", 5, "StoreError", "createdb")


def test_a_user_that_is_not_there(cli: Cli) -> None:
    with cluster().database() as url:
        refused(cli, url.replace(f"//{urlsplit(url).username}", "//nobody_of_that_name"), 5, "StoreError", "user")


def test_a_server_that_is_not_there(cli: Cli) -> None:
    refused(cli, "postgresql://somebody:s3cret@127.0.0.1:1/db", 5, "StoreInterrupted", "cannot be reached")


@pytest.mark.parametrize("password", ["pass/word", "pa%ss", "pass@word", "pass#wo@rd"])
def test_a_password_that_is_not_quoted(cli: Cli, password: str) -> None:
    """None of it is shown, though nobody can tell where it ends."""
    url = f"postgresql://somebody:{password}@127.0.0.1:1/db"
    done = cli.run("list", "--store", url)
    assert done.returncode in (2, 5)
    said = done.stderr.replace("a password", "")
    assert not [part for part in ("pass", "word", "pa%", "ss@", "wo@rd") if part in said]


def test_a_database_of_something_else(cli: Cli, url: str) -> None:
    with made(url, "CREATE TABLE items (id INT); INSERT INTO items VALUES (7)"):
        refused(cli, url, 5, "StoreCorrupt", "something else", command=("enqueue", "orders", "--id", "1", "--", "true"))
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT * FROM items").fetchall() == [(7,)]


def test_a_newer_store(cli: Cli) -> None:
    with cluster().database() as url, made(url, "INSERT INTO store_migrations (number, name) VALUES (9999, 'later')"):
        refused(cli, url, 5, "StoreTooNew", "upgrade batchctl")


def test_a_server_that_only_reads(cli: Cli) -> None:
    """As a standby does: it answers questions and refuses changes."""
    with cluster().database() as url:
        name = urlsplit(url).path.lstrip("/")
        cluster().execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        assert cli.json("list", "--store", url)["total"] == 0
        enqueue = ("enqueue", "orders", "--id", "1", "--", "true")
        refused(cli, url, 5, "StoreReadOnly", "primary", command=enqueue)


def test_without_the_extra_the_message_names_it(cli: Cli) -> None:
    hide = "import sys; sys.modules['psycopg'] = None; import batchctl.__main__ as m; sys.exit(m.main())"
    done = subprocess.run(
        [sys.executable, "-c", hide, "list", "--store", f"postgresql://{OWNER}@127.0.0.1/db"],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'batchctl[postgres]'" in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@host:5433/db?sslmode=require", "postgresql://ann@host:5433/db"),
        ("postgresql://ann@host/db?password=s3cret", "postgresql://ann@host/db"),
        ("postgresql://ann:s3/cret@host/db", "postgresql://…"),
        ("postgresql://ann:s3@cret@host/db", "postgresql://…"),
        ("/var/lib/a:b@c/queue.db", "/var/lib/a:b@c/queue.db"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.usefixtures("clean_state")
@pytest.mark.parametrize(
    "same",
    [
        "postgresql://ann@db.example.com:5432/orders",
        "postgres://batch:s3cret@db.example.com/orders?sslmode=verify-full&connect_timeout=3",
        "postgresql://db.example.com/orders?sslmode=require&application_name=x#fragment",
        "postgresql:///orders?host=db.example.com&user=eve",
    ],
)
def test_the_same_database_has_one_private_folder(same: str) -> None:
    assert private_folder(same) == private_folder("postgresql://db.example.com/orders")


@pytest.mark.usefixtures("clean_state")
@pytest.mark.parametrize(
    "other",
    [
        "postgresql://db.example.com/invoices",
        "postgresql://db.example.com:5433/orders",
        "postgresql://db2.example.com/orders",
        "postgresql:///orders?host=/run/postgresql",
        "postgresql://db.example.com/orders?options=-csearch_path%3Dbatchctl",
    ],
)
def test_another_database_has_another_private_folder(other: str) -> None:
    assert private_folder(other) != private_folder("postgresql://db.example.com/orders")


@pytest.fixture
def clean_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
