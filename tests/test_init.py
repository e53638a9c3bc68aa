"""`init` writes what runs as it is, and the commands that it prints do what they say."""

from __future__ import annotations

import json
import shlex
import socket
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Cli


def type_in(cli: Cli, command: str, **env: str) -> str:
    """Runs a printed `batchctl …` line; its output."""
    words = shlex.split(command)
    assert words[0] == "batchctl"
    return cli.ok(*words[1:], **env)


@pytest.mark.parametrize("example", ["command", "http", "python"])
def test_the_written_config_has_no_problem(cli: Cli, example: str) -> None:
    cli.ok("init", "--example", example)
    assert cli.json("config", "check")["valid"] is True
    path = cli.folder / "batchctl.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (cli.folder / "queue.db").exists()


def test_the_command_example_runs_as_printed(cli: Cli) -> None:
    enqueue, run, results = cli.ok("init").splitlines()
    type_in(cli, enqueue)
    type_in(cli, run)
    row = json.loads(type_in(cli, results))
    assert row["state"] == "completed"
    assert "example-letter.txt" in json.dumps(row["result"])


def test_the_python_example_runs_as_printed_from_another_folder(cli: Cli) -> None:
    commands = cli.ok("init", "my orders", "--example", "python").splitlines()
    outputs = [type_in(cli, command) for command in commands]
    assert "59.70" in outputs[-1]
    assert outputs[-1].count("completed") == 4


def test_the_http_example_runs_as_printed(cli: Cli) -> None:
    server, *commands = cli.ok("init", "--example", "http").splitlines()
    assert server == "python3 example_server.py &"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, cli.folder / "example_server.py", str(port)])
    try:
        wait_for(port)
        outputs = [type_in(cli, command, ERP_URL=f"http://127.0.0.1:{port}") for command in commands]
    finally:
        process.terminate()
        process.wait()
    rows = [json.loads(line) for line in outputs[-1].splitlines()]
    assert sorted(row["result"]["invoice"] for row in rows) == [1001, 1002, 1003, 1004]
    assert rows[0]["result"]["amount"] == pytest.approx(59.7)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def test_the_gemini_example_says_that_it_must_wait(cli: Cli) -> None:
    check, enqueue, _ = cli.ok("init", "--example", "gemini").splitlines()
    done = cli.run(*shlex.split(check)[1:])
    assert done.returncode == 2
    assert "`gemini` is not available in this version" in done.stdout
    type_in(cli, enqueue)


def test_nothing_is_overwritten(cli: Cli) -> None:
    (cli.folder / "example-orders.csv").write_text("mine")
    cli.ok("init", "--example", "python")
    assert (cli.folder / "example-orders.csv").read_text() == "mine"
    (cli.folder / "batchctl.yaml").write_text("# mine")
    done = cli.run("init", "--example", "http")
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (cli.folder / "batchctl.yaml").read_text() == "# mine"
    assert not (cli.folder / "example_server.py").exists()


def test_json_and_another_store(cli: Cli) -> None:
    answer = cli.json("init", "new", "--store", "other.db")
    assert answer["config"] == str(cli.folder / "new/batchctl.yaml")
    assert (cli.folder / "other.db").exists()
    assert not (cli.folder / "new/queue.db").exists()
    assert len(answer["next"]) == 3
    assert all("--config new/batchctl.yaml --store other.db" in command for command in answer["next"])


def test_a_folder_that_cannot_be_made(cli: Cli) -> None:
    (cli.folder / "file").write_text("")
    done = cli.run("init", "file/below")
    assert done.returncode == 2
    assert "cannot write" in done.stderr
