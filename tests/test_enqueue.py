"""enqueue, as users call it, on every engine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from conftest import Cli
from databases import Database

from batchctl import journal
from batchctl.cli import run

CONFIG = """
processors:
  book:
    command: [echo, "{{ id }}"]
  menus:
    command: [echo, "{{ path }}"]
    accept: {types: [pdf], max_items: 2}
"""
SECRET = "very-secret-token"  # noqa: S105 - stands for one
ORDERS = "id,name\n1,Ada\n2,Grace\n3,Alan\n"


@dataclass
class Here(Cli):
    """The program called in this process. `really` starts it."""

    call: Callable[..., subprocess.CompletedProcess[str]] = Cli.run

    def run(self, *args: Any, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return self.call(self, *args, **kwargs)

    def really(self) -> Cli:
        return Cli(self.folder, self.env)


@pytest.fixture
def cli(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    (tmp_path / "home").mkdir()

    def call(cli: Cli, *args: Any, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - {"PATH"}:
                patch.delenv(name)
            for name, value in cli.environment(**env).items():
                patch.setenv(name, value)
            patch.chdir(cli.folder)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(stdin)), "utf-8"))
            capsys.readouterr()
            journal.configure()  # as in a new process
            code = run([str(arg) for arg in args])
            return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return Here(tmp_path, {"BATCHCTL_STORE": database.url}, call=call)


def asked(cli: Cli, *args: str | Path, code: int = 0, **kwargs: Any) -> Any:
    """What `enqueue` answers as JSON; the option stands first, because words after -- are the command's."""
    done = cli.run("--json", "enqueue", *args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture
def work(cli: Here) -> Here:
    cli.config(CONFIG)
    (cli.folder / "o.csv").write_text(ORDERS)
    return cli


def items(cli: Cli, batch: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli.json("show", batch)["items"]
    return found


def test_orders_become_items(work: Cli) -> None:
    answer = asked(work, "orders", "o.csv", "-p", "book", "--name", "first", "--priority", "high")
    batch = answer["batch"]
    assert (answer["existing"], answer["skipped_items"]) == (False, 0)
    assert (batch["name"], batch["kind"], batch["processor"], batch["priority"]) == ("first", "orders", "book", "high")
    assert (batch["total_items"], batch["status"]) == (3, "pending")
    assert [(item["key"], item["payload"]) for item in items(work, batch["id"])] == [
        ("1", {"id": "1", "name": "Ada"}),
        ("2", {"id": "2", "name": "Grace"}),
        ("3", {"id": "3", "name": "Alan"}),
    ]


def test_the_answer_is_one_line_with_the_next_command(work: Cli) -> None:
    (line,) = work.ok("enqueue", "records", "o.csv", "-p", "book").splitlines()
    batch = work.json("list")["batches"][0]["id"]
    assert line == f"{batch}: 3 items for book; next: batchctl run {batch}"
    assert work.ok("enqueue", "orders", "o.csv", "-p", "book", "--again", "--print-id").strip() != batch


@pytest.mark.parametrize(
    "text", [ORDERS, json.dumps([{"id": "1", "name": "Ada"}]), '{"id":"1","name":"Ada"}\n', ORDERS.replace(",", "\t")]
)
def test_orders_from_standard_input_in_any_format(work: Cli, text: str) -> None:
    answer = asked(work, "orders", "-", "-p", "book", stdin=text)
    assert items(work, answer["batch"]["id"])[0]["payload"] == {"id": "1", "name": "Ada"}


def test_ids_and_the_limit(work: Cli) -> None:
    answer = asked(work, "orders", "o.csv", "--id", "x", "--id", "y/z", "--limit", "4", "-p", "book")
    assert [item["key"] for item in items(work, answer["batch"]["id"])] == ["1", "2", "3", "x"]


def test_a_compound_key(work: Cli) -> None:
    answer = asked(work, "orders", "o.csv", "--key", "name,id", "-p", "book")
    assert items(work, answer["batch"]["id"])[0]["key"] == "Ada|1"


def test_xlsx_orders(work: Cli) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(["id", "amount"])
    book.active.append(["00017", 12.5])
    book.save(work.folder / "o.xlsx")
    answer = asked(work, "orders", "o.xlsx", "-p", "book")
    assert items(work, answer["batch"]["id"])[0]["payload"] == {"id": "00017", "amount": 12.5}


def test_files_become_items(work: Cli) -> None:
    (work.folder / "in").mkdir()
    for name in ("b.pdf", "a.PDF", ".c.pdf", "d.part"):
        (work.folder / "in" / name).write_bytes(b"%PDF-1.7\n")
    done = work.run("enqueue", "files", "in", "-r", "-p", "menus", "--json")
    assert done.returncode == 0, done.stderr
    assert "left out: 1 hidden, 1 partial" in done.stderr
    found = items(work, json.loads(done.stdout)["batch"]["id"])
    assert [item["key"] for item in found] == ["a.PDF", "b.pdf"]
    assert found[0]["file"]["media_type"] == "application/pdf"
    assert found[0]["file"]["path"] == str(work.folder / "in" / "a.PDF")


def test_a_list_of_files_with_nul_bytes(cli: Cli) -> None:
    names = [b"two\nlines", b"-dash", b"caf\xe9", b"plain"]
    for name in names:
        Path(os.fsdecode(os.fsencode(cli.folder) + b"/" + name)).write_bytes(b"x")
    stdin = os.fsdecode(b"\0".join(names))
    answer = asked(cli, "files", "--files-from", "-", "-0", "--", "cat", stdin=stdin)
    found = items(cli, answer["batch"]["id"])
    assert [item["key"] for item in found] == ["two\nlines", "-dash", "caf\\xe9", "plain"]
    done = cli.run("run")
    assert done.returncode == 0, done.stderr
    results = [item["result"] for item in items(cli, answer["batch"]["id"])]
    assert results == [{"stdout": "x"}] * 4


def test_a_command_needs_no_config(cli: Cli) -> None:
    for name in ("a b.txt", "c.txt"):
        (cli.folder / name).write_text(name)
    done = cli.run("enqueue", "files", "a b.txt", "c.txt", "--run", "-j", "1", "--", "sh", "-c", 'cat "$1"; echo', "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a b.txt", "c.txt"]


def test_under_run_one_document_has_the_answers_of_both(cli: Cli) -> None:
    call = ("orders", "--id", "1", "--idempotency-key", "k", "--run")
    answer = asked(cli, *call, "--", "echo")
    assert (answer["completed"], answer["unfinished_items"], answer["existing"]) == (1, 0, False)
    assert (answer["batch"]["status"], answer["skipped_items"]) == ("completed", 0)
    assert answer["batches"] == [answer["batch"]]
    assert asked(cli, *call, "--", "echo")["existing"] is True


def test_a_commands_own_options(work: Cli) -> None:
    asked(work, "orders", "o.csv", "--timeout", "20s", "--retries", "0", "--stdout-to", "out-{{ key }}.txt",
        "--run", "--", "echo", "hello {name}",
    )  # fmt: skip
    assert (work.folder / "out-2.txt").read_text() == "hello Grace\n"


def test_a_failing_command_under_run_exits_1(work: Cli) -> None:
    done = work.run("enqueue", "orders", "o.csv", "--retries", "0", "--run", "--", "test", "{name}", "!=", "Alan")
    assert done.returncode == 1


def test_work_that_is_held_is_left_with_the_way_to_learn_why(cli: Cli) -> None:
    done = cli.run("enqueue", "orders", "--id", "1", "--run", "--", "no-such-program")
    assert done.returncode == 3
    number = cli.json("show", "latest")["batch"]["id"]
    assert f"`batchctl why {number}`" in done.stderr


def test_what_a_command_writes_is_printed_byte_for_byte(cli: Here) -> None:
    script = r"""case $1 in 1) printf '{"a":1}';; 2) printf '\377\000\r\n';; 3) printf lost; exit 3;; esac"""
    done = cli.really().run("enqueue", "orders", "--id", "1", "--id", "2", "--id", "3", "--retries", "0",
        "--run", "-j", "1", "--", "sh", "-c", script, "sh", "{id}",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == '{"a":1}\udcff\0\nlost'  # the reader of the pipe turned \r\n to \n
    assert cli.json("show", "latest/1")["item"]["result"] == {"a": 1}


def test_output_that_goes_to_a_file_is_not_printed(cli: Cli) -> None:
    arguments = ("enqueue", "orders", "--id", "1", "--stdout-to", "{{ key }}.txt", "--run", "--", "echo", "hello")
    assert cli.ok(*arguments) == ""
    assert (cli.folder / "1.txt").read_text() == "hello 1\n"


def test_the_only_processor_goes_without_saying(cli: Cli) -> None:
    cli.config('processors: {solo: {command: [echo, "{{ id }}"]}}')
    assert asked(cli, "orders", "--id", "7")["batch"]["processor"] == "solo"


@pytest.mark.parametrize(("mode", "names"), [("skip", ["Ada", "Grace"]), ("last", ["Alan", "Grace"])])
def test_keys_that_stand_twice(work: Cli, mode: str, names: list[str]) -> None:
    (work.folder / "d.csv").write_text("id,name\n1,Ada\n2,Grace\n1,Alan\n")
    answer = asked(work, "orders", "d.csv", "-p", "book", "--on-duplicate", mode)
    assert [item["payload"]["name"] for item in items(work, answer["batch"]["id"])] == names
    assert answer["skipped_items"] == 1


def test_the_same_again_is_refused_until_it_is_meant(work: Cli) -> None:
    first = asked(work, "orders", "o.csv", "-p", "book")["batch"]["id"]
    refused = asked(work, "orders", "o.csv", "-p", "book", "--name", "other", code=2)
    assert refused["error"]["type"] == "DuplicateBatch"
    assert first in refused["error"]["message"]
    assert asked(work, "orders", "o.csv", "-p", "book", "--again")["batch"]["id"] != first


def test_an_idempotency_key_answers_with_the_same_batch(work: Cli) -> None:
    call = ("orders", "o.csv", "-p", "book", "--idempotency-key", "october")
    first, second = asked(work, *call), asked(work, *call)
    assert (first["existing"], second["existing"]) == (False, True)
    assert first["batch"]["id"] == second["batch"]["id"]
    (work.folder / "o.csv").write_text(ORDERS + "4,Edsger\n")
    assert asked(work, *call, code=2)["error"]["type"] == "DuplicateBatch"
    assert work.json("list")["total"] == 1


def test_what_is_known_is_left_out(work: Cli) -> None:
    call = ("orders", "o.csv", "-p", "book", "--skip-known")
    assert asked(work, *call)["batch"]["total_items"] == 3
    nothing = {"batch": None, "existing": False, "skipped_items": 3}
    assert asked(work, *call) == nothing
    work.ok("run")
    assert asked(work, *call) == nothing
    (work.folder / "o.csv").write_text(ORDERS + "4,Edsger\n")
    answer = asked(work, *call)
    assert (answer["batch"]["total_items"], answer["skipped_items"]) == (1, 3)


def test_split_makes_a_group(work: Cli) -> None:
    answer = asked(work, "orders", "o.csv", "-p", "book", "--split", "2", "--name", "big")
    assert [batch["total_items"] for batch in answer["batches"]] == [2, 1]
    (group,) = {batch["group"] for batch in answer["batches"]}
    assert group
    assert {batch["id"] for batch in work.json("show", group)["batches"]} == {b["id"] for b in answer["batches"]}


def test_not_before(work: Cli) -> None:
    batch = asked(work, "orders", "o.csv", "-p", "book", "--not-before", "+2h")["batch"]
    assert (batch["waiting_items"], batch["pending_items"]) == (3, 0)
    assert items(work, batch["id"])[0]["waiting_for"] == "schedule"


def test_a_dry_run_shows_the_first_three_and_stores_nothing(work: Cli) -> None:
    (work.folder / "o.csv").write_text(ORDERS + "4,Edsger\n")
    done = work.run("enqueue", "orders", "o.csv", "--dry-run", "--", "greet", "{name}", "from me")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n\n") == ["$ greet Ada 'from me'", "$ greet Grace 'from me'", "$ greet Alan 'from me'\n"]
    assert "4 items for inline:greet would be enqueued" in done.stderr
    assert work.json("list")["total"] == 0
    assert not (work.folder / "queue.db").exists()


def test_a_dry_run_shows_requests_without_secrets(cli: Cli) -> None:
    cli.config(
        "processors: {erp: {http: {method: POST, url: 'https://erp.example.com/{{ id }}', json: {n: '{{ name }}'},"
        " headers: {Authorization: 'Bearer ${TOKEN}'}}}}"
    )
    (cli.folder / "o.csv").write_text("id,name\na/b,Ada\n")
    text = cli.ok("enqueue", "orders", "o.csv", "--dry-run", TOKEN=SECRET)
    lines = text.splitlines()
    assert lines[0] == "POST https://erp.example.com/a%2Fb"
    assert "Authorization: Bearer ***" in lines
    assert lines[-1] == '{"n":"Ada"}'
    shown = asked(cli, "orders", "o.csv", "--dry-run", TOKEN=SECRET)
    assert shown["total_items"] == 1
    assert shown["preview"][0]["request"]["headers"]["Authorization"] == "Bearer ***"
    assert SECRET not in text + json.dumps(shown)
