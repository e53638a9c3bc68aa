"""A store that cannot be used: exit code 5, the right class, the next step, and never a traceback."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

CONFIG = "store: queue.db\nprocessors:\n  p: {command: [true]}\n"
IMPATIENT = (
    "import sys, batchctl.engines.sqlite as e; e.BUSY_SECONDS = 0.2; import batchctl.__main__ as m; sys.exit(m.main())"
)
LIST, RUN, PAUSE = ("list",), ("run",), ("pause", "--all")
ENQUEUE = ("enqueue", "orders", "--id", "k2", "-p", "p")


@pytest.fixture
def queue(cli: Cli) -> Path:
    """A store with one order in it."""
    cli.config(CONFIG)
    cli.ok("enqueue", "orders", "--id", "k1", "-p", "p")
    return cli.folder / "queue.db"


def refused(done: subprocess.CompletedProcess[str], path: Path) -> None:
    """Standard error says what and what next; nothing else."""
    assert done.returncode == 5, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert str(path) in done.stderr
    assert "hint:" in done.stderr


def refused_as(cli: Cli, kind: str, path: Path, *commands: tuple[str, ...]) -> None:
    for args in commands:
        problem = cli.json(*args, code=5)["error"]
        assert (problem["code"], problem["type"]) == (5, kind), args
        assert str(path) in problem["message"]
        refused(cli.run(*args), path)


# -- not a store, or no store any more


def test_a_file_of_something_else(cli: Cli, queue: Path) -> None:
    for name in (queue.name + "-wal", queue.name + "-shm"):
        (cli.folder / name).unlink(missing_ok=True)
    queue.write_text("Dear diary, " * 1_000)
    refused_as(cli, "StoreCorrupt", queue, LIST, ENQUEUE, RUN)
    assert queue.read_text().startswith("Dear diary")


def test_a_database_of_something_else(cli: Cli) -> None:
    cli.config(CONFIG)
    path = cli.folder / "queue.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    refused_as(cli, "StoreCorrupt", path, LIST, ENQUEUE)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_an_empty_file_is_no_store_for_who_reads_and_becomes_one_for_who_enqueues(cli: Cli) -> None:
    cli.config(CONFIG)
    path = cli.folder / "queue.db"
    path.touch()
    refused_as(cli, "StoreCorrupt", path, LIST)
    cli.ok("enqueue", "orders", "--id", "k1", "-p", "p")
    assert cli.json("list")["total"] == 1


def test_a_folder(cli: Cli) -> None:
    cli.config(CONFIG)
    path = cli.folder / "queue.db"
    path.mkdir()
    refused_as(cli, "StoreError", path, LIST, ENQUEUE)


def test_a_path_through_a_file(cli: Cli) -> None:
    cli.config(CONFIG.replace("queue.db", "file/queue.db"))
    (cli.folder / "file").write_text("")
    refused_as(cli, "StoreError", cli.folder / "file/queue.db", ENQUEUE)


def test_a_newer_store(cli: Cli, queue: Path) -> None:
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("PRAGMA user_version = 99")
    refused_as(cli, "StoreTooNew", queue, LIST, ENQUEUE, RUN, PAUSE)
    assert "upgrade" in cli.run("list").stderr


# -- damaged


def checkpointed(queue: Path) -> int:
    """All in the one file; the size of a page."""
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(connection.execute("PRAGMA page_size").fetchone()[0])


def test_damaged_pages(cli: Cli, queue: Path) -> None:
    size = checkpointed(queue)
    with queue.open("r+b") as file:
        file.seek(size)
        file.write(os.urandom(queue.stat().st_size - size))
    refused_as(cli, "StoreCorrupt", queue, LIST, ENQUEUE, RUN)
    assert "backup" in cli.run("list").stderr


def test_a_file_cut_short(cli: Cli, queue: Path) -> None:
    os.truncate(queue, checkpointed(queue) * 3)
    refused_as(cli, "StoreCorrupt", queue, LIST, ENQUEUE)


# -- locked


def impatient(cli: Cli, *args: str) -> subprocess.CompletedProcess[str]:
    """The program, with a busy wait of 0.2 s."""
    return subprocess.run(
        [sys.executable, "-c", IMPATIENT, *args],
        cwd=cli.folder,
        env=cli.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def by_sqlite(queue: Path) -> Callable[[], None]:
    connection = sqlite3.connect(queue, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def by_batchctl(queue: Path) -> Callable[[], None]:
    fd = os.open(queue.with_name("queue.db.run") / "write.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return lambda: os.close(fd)


@pytest.mark.parametrize("lock", [by_sqlite, by_batchctl])
def test_a_lock_that_is_held_too_long(cli: Cli, queue: Path, lock: Callable[[Path], Callable[[], None]]) -> None:
    release = lock(queue)
    try:
        for args in ENQUEUE, PAUSE:
            done = impatient(cli, *args)
            refused(done, queue)
            problem = json.loads(impatient(cli, *args, "--json").stdout)["error"]
            assert problem["type"] == "StoreLocked"
    finally:
        release()
    cli.ok(*ENQUEUE)


@pytest.mark.parametrize("lock", [by_sqlite, by_batchctl])
def test_who_reads_waits_for_no_lock(cli: Cli, queue: Path, lock: Callable[[Path], Callable[[], None]]) -> None:
    release = lock(queue)
    try:
        assert impatient(cli, "list", "--json").returncode == 0
    finally:
        release()
    with closing(sqlite3.connect(queue)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cli.ok("list")
        assert queue.with_name("queue.db-wal").stat().st_size == 0, "reading wrote to the store"


# -- not ours to write


def without_privileges(cli: Cli, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The program, bound by the modes of files even where root runs the tests."""
    head: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everything, and there is no setpriv")
        caps = "-dac_override,-dac_read_search,-fowner"
        head = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]
    return subprocess.run(
        [*head, sys.executable, "-m", "batchctl", *args],
        cwd=cli.folder,
        env=cli.environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_store_that_may_only_be_read(cli: Cli, queue: Path) -> None:
    checkpointed(queue)
    queue.chmod(0o400)
    cli.folder.chmod(0o500)
    try:
        done = without_privileges(cli, *ENQUEUE, "--json")
        problem: dict[str, Any] = json.loads(done.stdout)["error"]
        assert (done.returncode, problem["type"]) == (5, "StoreReadOnly"), done
        refused(without_privileges(cli, *ENQUEUE), queue)
    finally:
        cli.folder.chmod(0o700)


def test_a_store_that_may_not_even_be_read(cli: Cli, queue: Path) -> None:
    queue.chmod(0o000)
    done = without_privileges(cli, "list", "--json")
    assert done.returncode == 5, done
    assert json.loads(done.stdout)["error"]["type"] in ("StoreError", "StoreReadOnly")
    refused(without_privileges(cli, "list"), queue)


# -- full


def test_a_disk_that_takes_no_more_leaves_the_queue_as_it_was(cli: Cli) -> None:
    cli.config(CONFIG)
    cli.ok("enqueue", "orders", "--id", "k1", "-p", "p")
    rows = "".join(json.dumps({"id": n, "text": "x" * 200}) + "\n" for n in range(20_000))
    (cli.folder / "many.jsonl").write_text(rows)
    limited = f"ulimit -f 2048; exec {sys.executable} -m batchctl enqueue orders many.jsonl -p p --json"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=cli.folder, env=cli.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done
    assert json.loads(done.stdout)["error"]["type"] in ("StoreFull", "StoreError")
    assert "Traceback" not in done.stderr
    assert cli.json("list")["total"] == 1
    assert cli.json("run")["completed"] == 1
