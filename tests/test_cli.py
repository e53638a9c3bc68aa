"""The command line itself: global options, errors and exit codes, what happens when nobody reads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from queuekit import Program, Queue, program_in

import batchctl
from batchctl import commands
from batchctl.commands import registry


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    with program_in(tmp_path, monkeypatch, capsys) as program:
        yield program


def test_the_version(cli: Cli, program: Program) -> None:
    assert cli.ok("--version") == f"batchctl {batchctl.__version__}\n"
    assert program("list", "--version").out == f"batchctl {batchctl.__version__}\n"


def test_no_command_shows_the_help(program: Program) -> None:
    assert program().out == program("--help").out
    assert "Usage: batchctl" in program().out


def test_global_options_stand_before_or_after_the_command(program: Program) -> None:
    program.queue.add(2, org="acme")
    program.queue.add(2)
    for args in (
        ["--json", "--org", "acme", "list"],
        ["list", "--json", "--org", "acme"],
        ["--org=acme", "list", "--json"],
    ):
        assert program(*args).json["total"] == 1


def test_an_option_takes_its_value_whatever_that_looks_like(program: Program) -> None:
    (no,) = program.queue.add(1)
    program("set", "latest", "--name", "--json")
    assert program.queue.views().batch(no)["name"] == "--json"


def test_the_flag_wins_over_the_environment(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.queue.add(1, org="acme")
    monkeypatch.setenv("BATCHCTL_ORG", "other")
    assert program("list", "--json").json["total"] == 0
    assert program("--org", "acme", "list", "--json").json["total"] == 1
    assert program("--org", "acme", "list", "--org", "other", "--json").json["total"] == 0


def test_an_unknown_command_names_the_nearest(program: Program) -> None:
    answer = program("lsit", code=2)
    assert "no command 'lsit'" in answer.err
    assert "`batchctl list`" in answer.err


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["list", "--bogus"], "--bogus"),
        (["list", "--limit", "many"], "--limit"),
        (["list", "--status", "done"], "done"),
        (["list", "--since", "soon"], "soon"),
        (["show"], "BATCH|ITEM"),
        (["show", "latest", "--items", "bad"], "bad"),
        (["errors", "--format", "html"], "html"),
        (["results", "latest", "--format", "html"], "html"),
        (["pause"], "--processor"),
        (["retry"], "--all-failed"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_refused_in_one_sentence(program: Program, args: list[str], what: str) -> None:
    answer = program(*args, code=2)
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert what in answer.err
    document = program(*args, "--json", code=2).json
    assert list(document["error"]) == ["code", "type", "message", "details"]
    assert document["error"]["code"] == 2
    assert what in document["error"]["message"]


def test_what_is_not_there_is_4(program: Program) -> None:
    program.queue.add(1)
    assert program("show", "june", "--json", code=4).json["error"]["type"] == "NotFound"
    assert "june" in program("show", "june", code=4).err


def test_reading_makes_no_store(cli: Cli) -> None:
    done = cli.run("list", "--json", "--store", "none/queue.db")
    assert json.loads(done.stdout) == {"batches": [], "total": 0}
    assert "none/queue.db" in done.stderr
    assert not (cli.folder / "none").exists()
    for args in (["find", "x"], ["errors"], ["workers"], ["watch"]):
        assert cli.run(*args, "--json").returncode == 0
    for args in (["show", "latest"], ["cancel", "1"], ["logs", "1"], ["pause", "--all"]):
        assert cli.run(*args).returncode == 4
    assert not list(cli.folder.rglob("*.db"))


def test_where_there_is_no_store_the_config_is_named(cli: Cli) -> None:
    path = cli.config("store: work.db\n")
    done = cli.run("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert str(path) in done.stderr
    assert "work.db" in done.stderr


def test_a_store_that_is_none_is_5(cli: Cli) -> None:
    (cli.folder / "junk.db").write_bytes(b"no database at all" * 100)
    done = cli.run("list", "--store", "junk.db", "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["type"] == "StoreCorrupt"
    assert "Traceback" not in done.stderr


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with a fault in it."""

    def broken() -> None:
        """A fault."""
        raise KeyError("fault")

    module = types.ModuleType("batchctl.commands.broken")
    module.register = lambda app: app.command("broken")(broken)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(commands, "broken", module, raising=False)
    monkeypatch.setitem(registry.COMMANDS, "broken", ("broken", "Look", "A fault"))


@pytest.mark.usefixtures("broken")
def test_a_fault_is_one_sentence_and_a_traceback_only_with_vv(program: Program) -> None:
    answer = program("broken", code=1)
    assert "internal error: KeyError: 'fault'" in answer.err
    assert "-vv" in answer.err
    assert "Traceback" not in answer.err
    assert "Traceback" in program("broken", "-vv", code=1).err
    assert "Traceback" in program("-v", "broken", "-v", code=1).err
    assert program("broken", "--json", code=1).json["error"]["code"] == 1


def test_a_reader_that_has_enough_is_no_failure(cli: Cli) -> None:
    queue = Queue(cli.folder / "queue.db")
    queue.add([{"id": f"k{n}", "text": "x" * 200} for n in range(3000)])
    queue.close()
    process = cli.start("results", "latest", "--status", "all", "--store", "queue.db")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["key"] == "k0"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(30) == 0
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_cannot_be_written_is_a_failure(cli: Cli) -> None:
    Queue(cli.folder / "queue.db").close()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "batchctl", "list", "--json", "--store", "queue.db"],
            cwd=cli.folder,
            env=cli.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_130(cli: Cli) -> None:
    queue = Queue(cli.folder / "queue.db")
    queue.add(1)
    queue.close()
    process = cli.start("watch", "latest", "--store", "queue.db")
    assert process.stderr is not None
    assert process.stderr.readline() != ""  # the first line of progress: it is at work
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


def shell(cli: Cli, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell in which `$B` is the program."""
    environment = cli.environment(B=f"{sys.executable} -m batchctl", **env)
    return subprocess.run(
        ["sh", "-c", line], cwd=cli.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", ["list", "list --json", "--version", "show nope --json", "init"])
def test_closed_streams_change_no_exit_code(cli: Cli, command: str) -> None:
    expected = 4 if "nope" in command else 0
    for closed in (">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        done = shell(cli, f"cd $(mktemp -d -p .) && $B {command} {closed}")
        assert (done.returncode, "Traceback" in done.stderr) == (expected, False), done.stderr


def test_a_full_disk_under_the_answer_is_told_wherever_it_shows(cli: Cli) -> None:
    Queue(cli.folder / "queue.db").close()
    for env in ({}, {"PYTHONUNBUFFERED": "1"}):
        done = shell(
            cli, "$B --store queue.db workers --help > /dev/full; $B --store queue.db list --json > /dev/full", **env
        )
        assert done.returncode == 1
        assert "cannot write the answer: No space left on device" in done.stderr
        assert "internal error" not in done.stderr


@pytest.mark.parametrize("reader", ["| head -n 1", "> /dev/full", ">&-"])
def test_work_goes_on_when_nobody_reads_what_its_items_write(cli: Cli, reader: str) -> None:
    orders = " ".join(f"--id {n}" for n in range(12))
    done = shell(cli, f"$B enqueue orders {orders} --run -j 1 -- echo {reader}")
    assert "Traceback" not in done.stderr
    batch = cli.json("show", "latest")["batch"]
    assert (batch["status"], batch["completed_items"]) == ("completed", 12)


def test_text_of_any_kind_can_be_printed_in_any_locale(cli: Cli) -> None:
    queue = Queue(cli.folder / "queue.db")
    queue.add([{"id": "søn \x1b[31m\u202e"}], name="ü")
    queue.close()
    for env in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {}):
        for args in (["list"], ["show", "latest"], ["results", "latest", "--status", "all"]):
            done = cli.run(*args, "--store", "queue.db", **env)
            assert done.returncode == 0, done.stderr
            assert "\x1b" not in done.stdout
        answer = cli.run("show", "latest", "--store", "queue.db", "--json", **env)
        assert json.loads(answer.stdout)["items"][0]["key"] == "søn \x1b[31m\u202e"


def test_an_argument_that_is_no_utf8_is_just_not_found(cli: Cli) -> None:
    Queue(cli.folder / "queue.db").close()
    assert cli.run("show", b"caf\xe9", "--store", "queue.db").returncode == 4
    assert cli.run("find", b"caf\xe9", "--store", "queue.db").returncode == 0
    assert cli.run("list", "--org", b"caf\xe9", "--store", "queue.db").returncode == 2


def test_one_command_imports_only_itself(cli: Cli) -> None:
    Queue(cli.folder / "queue.db").close()
    script = (
        "import sys; from batchctl.cli import run; run(['list', '--store', 'queue.db']); "
        "print([m for m in sys.modules if m.startswith('batchctl.commands.')]); "
        "print([m for m in ('rich', 'httpx', 'openpyxl', 'yaml', 'jinja2') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    names: list[str] = json.loads(out[-2].replace("'", '"'))
    assert {name.rpartition(".")[2] for name in names} == {"common", "registry", "list", "alert_lines"}
    assert out[-1] == "[]"


def test_the_login_name_is_the_user(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHCTL_USER")
    monkeypatch.setenv("LOGNAME", "grace")
    (no,) = program.queue.add(1)
    program("pause", "latest")
    events: list[dict[str, Any]] = program("history", "latest", "--json").json["history"]
    assert [event["actor"] for event in events] == ["ann", "grace"]
    assert no
