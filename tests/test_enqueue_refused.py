"""Bad input is refused whole: every reason with its file and line, exit 2, nothing stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

SECRET = "very-secret-token"  # noqa: S105 - stands for one
CONFIG = """
processors:
  create-invoice:
    http:
      method: POST
      url: "https://erp.example.com/{{ id }}"
      json: {mail: "{{ email }}", who: "{{ customer.name }}"}
    accept: {max_items: 3}
  menus:
    command: [echo, "{{ path }}"]
    accept: {types: [pdf], max_file_size: 20}
"""


def asked(cli: Cli, *args: str | Path, code: int = 0, **kwargs: Any) -> Any:
    """What `enqueue` answers as JSON; the option stands first, because words after -- are the command's."""
    done = cli.run("--json", "enqueue", *args, **kwargs)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.fixture
def work(cli: Cli) -> Cli:
    cli.config(CONFIG)
    return cli


def refused(cli: Cli, *args: str | Path, **kwargs: Any) -> dict[str, Any]:
    """The error of a call that must change nothing."""
    before = sorted(path.name for path in cli.folder.rglob("*"))
    error: dict[str, Any] = asked(cli, *args, code=2, **kwargs)["error"]
    assert sorted(path.name for path in cli.folder.rglob("*")) == before
    return error


def test_every_reason_with_file_and_line(work: Cli) -> None:
    (work.folder / "a.csv").write_text("id,email\n1,x\n2\n3,y,z\n")
    (work.folder / "b.jsonl").write_text('{"id": 1, "email": "a", "customer": {"name": "x"}}\n{"id": \n[]\n')
    error = refused(work, "orders", "a.csv", "b.jsonl", "gone.csv", "-p", "create-invoice")
    assert error["type"] == "InvalidInput"
    where = "which processors.create-invoice.http.json needs"
    assert error["details"] == [
        f"a.csv:2: has no 'customer', {where}",
        "a.csv:3: has 1 value, but the header names 2",
        "a.csv:4: has 3 values, but the header names 2",
        "b.jsonl:2: is not valid JSON: input data was truncated",
        "b.jsonl:3: is a list, not an object",
        "gone.csv: cannot be read: No such file or directory",
    ]


def test_a_missing_column_names_row_column_and_the_nearest(work: Cli) -> None:
    (work.folder / "o.jsonl").write_text(
        '{"id": 1, "email": "x", "customer": {"name": "x"}}\n{"id": 2, "Email": "x", "customer": {"nam": 1}}\n'
    )
    error = refused(work, "orders", "o.jsonl", "-p", "create-invoice")
    needs = "which processors.create-invoice.http.json needs"
    assert error["details"] == [
        f"o.jsonl:2: has no 'email', {needs} (did you mean 'Email'?)",
        f"o.jsonl:2: has no 'customer.name', {needs}",
    ]


def test_a_missing_field_of_a_command(cli: Cli) -> None:
    (cli.folder / "o.csv").write_text("id,name\n1,a\n")
    error = refused(cli, "orders", "o.csv", "--", "echo", "{nmae}")
    assert error["details"] == ["o.csv:2: has no 'nmae', which the command needs as {nmae} (did you mean 'name'?)"]


def test_keys_that_stand_twice(cli: Cli) -> None:
    (cli.folder / "o.csv").write_text("id,name\n1,a\n2,b\n1,c\n")
    error = refused(cli, "orders", "o.csv", "--", "echo")
    assert error["details"] == ["o.csv:4: the key '1' was there before, in item 1 (see --on-duplicate)"]


def test_too_many_items(work: Cli) -> None:
    (work.folder / "o.jsonl").write_text(
        "".join(f'{{"id": {n}, "email": "x", "customer": {{"name": "x"}}}}\n' for n in range(5))
    )
    error = refused(work, "orders", "o.jsonl", "-p", "create-invoice")
    assert error["message"] == "5 items, but create-invoice accepts at most 3 in a batch (max_items)"
    assert "--split 3" in work.run("enqueue", "orders", "o.jsonl", "-p", "create-invoice").stderr
    assert refused(work, "orders", "o.jsonl", "-p", "create-invoice", "--split", "4")["message"].startswith("--split 4")
    answer = asked(work, "orders", "o.jsonl", "-p", "create-invoice", "--split", "3")
    assert [batch["total_items"] for batch in answer["batches"]] == [3, 2]


def test_files_that_are_not_accepted(work: Cli) -> None:
    (work.folder / "a.pdf").write_bytes(b"%PDF-1.7\n" + b"x" * 50)
    (work.folder / "b.pdf").write_bytes(b"plain text")
    (work.folder / "c.pdf").write_bytes(b"%PDF-1.7\n")
    error = refused(work, "files", "a.pdf", "b.pdf", "c.pdf", "gone.pdf", "-p", "menus")
    assert error["details"] == [
        "gone.pdf: cannot be read: No such file or directory",
        "a.pdf: has 59 bytes, but menus accepts at most 20 (max_file_size)",
        "b.pdf: is text/plain by its content, but menus accepts only pdf (types)",
    ]


def test_files_lack_the_columns_of_orders(work: Cli) -> None:
    (work.folder / "c.pdf").write_bytes(b"%PDF-1.7\n")
    error = refused(work, "files", "c.pdf", "-p", "create-invoice")
    assert error["details"][0].startswith("create-invoice: a file has no 'id'")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("orders", "-p", "menus"), "which orders?"),
        (("files", "-p", "menus"), "which files?"),
        (("files", ".", "-p", "menu"), "there is no processor 'menu'"),
        (("orders", "--id", "1"), "which processor?"),
        (("orders", "--id", "1", "-p", "menus", "--", "echo"), "-p names a processor"),
        (("orders", "--id", "1", "--"), "there is no command after --"),
        (("orders", "--id", "1", "-p", "menus", "--retries", "1"), "--retries goes with a command"),
        (("orders", "--id", "1", "-p", "menus", "--max-time", "5s"), "--max-time goes with --run"),
        (("orders", "--id", "1", "-p", "menus", "--not-before", "soon"), "--not-before: `soon` is not a time"),
        (("orders", "--id", "1", "--timeout", "soon", "--", "echo"), "--timeout: `soon` is not a duration"),
        (("orders", "--id", "1", "--name", "latest", "--", "echo"), "--name latest"),
        (("orders", "--id", "1", "--name", " ", "--", "echo"), "--name"),
        (("orders", "--id", "\udcff", "--", "echo"), "the input: 1 problem"),
        (("orders", "--id", "1", "--", "ec\udcff"), "ec\\xff: the command must be UTF-8"),
        (("orders", "/bin/sh", "--", "echo"), "the input: 1 problem"),
        (("orders", "--id", "1", "--key", "a,,b", "--", "echo"), "--key a,,b"),
        (("files", "missing-folder", "-r", "-p", "menus"), "the input: 1 problem"),
    ],
)
def test_options_that_do_not_fit(work: Cli, args: tuple[str, ...], message: str) -> None:
    error = work.run("enqueue", *args)
    assert error.returncode == 2
    assert f"error: {message}" in error.stderr
    assert "Traceback" not in error.stderr
    assert not (work.folder / "home/.local").exists()


def test_nothing_selected_is_an_error_that_says_why(cli: Cli) -> None:
    (cli.folder / "in").mkdir()
    (cli.folder / "in/.hidden").write_text("x")
    error = refused(cli, "files", "in", "-r", "--", "echo")
    assert error["message"] == "nothing to enqueue: no file was selected (left out: 1 hidden)"
    (cli.folder / "in/.hidden").unlink()
    assert "there is no file" in refused(cli, "files", "in", "-r", "--", "echo")["message"]


def test_nothing_new_is_no_error_with_skip_known(cli: Cli) -> None:
    (cli.folder / "in").mkdir()
    answer = asked(cli, "files", "in", "-r", "--skip-known", "--", "echo")
    assert answer == {"batch": None, "existing": False, "skipped_items": 0}


def test_a_secret_of_the_config_is_refused_in_a_command(cli: Cli) -> None:
    cli.config("processors: {x: {http: {url: 'https://e.example', headers: {A: '${TOKEN}'}}}}")
    done = cli.run("enqueue", "orders", "--id", "1", "--", "curl", "-H", f"A: {SECRET}", TOKEN=SECRET)
    assert done.returncode == 2
    assert SECRET not in done.stdout + done.stderr


def test_a_late_problem_leaves_nothing_of_a_long_load(cli: Cli) -> None:
    lines = [f'{{"id": {n}}}' for n in range(12_000)]
    (cli.folder / "o.jsonl").write_text("\n".join([*lines, '{"id": 17}', "oops"]))
    error = asked(cli, "orders", "o.jsonl", "--", "echo", code=2)["error"]
    assert error["details"] == [
        "o.jsonl:12002: is not valid JSON: invalid character (byte 0)",
        "o.jsonl:12001: the key '17' was there before, in item 18 (see --on-duplicate)",
    ]
    assert cli.json("list") == {"batches": [], "total": 0}


KEYS = """
secrets: {keys: "${file:keys.json}"}
processors:
  sync: {http: {url: "https://api.example.com/{{ secrets.keys[account] }}/{{ id }}"}}
  late: {command: [env], env: {KEY: "{{ secrets.keys[stem] }}", OTHER: "{{ secrets.keys.get(stem, '') }}"}}
"""


@pytest.fixture
def keyed(cli: Cli) -> Cli:
    cli.config(KEYS)
    secret = cli.folder / "keys.json"
    secret.write_text(json.dumps({"a1": SECRET}))
    secret.chmod(0o600)
    return cli


def test_a_secret_that_the_config_has_not_for_a_row_is_told_with_the_row(keyed: Cli) -> None:
    (keyed.folder / "jobs.csv").write_text("id,account\n1,a1\n2,a2\n3,\n")
    details = refused(keyed, "orders", "jobs.csv", "-p", "sync")["details"]
    assert [line.partition(" for ")[0] for line in details] == [
        "jobs.csv:3: needs the secret 'a2'",
        "jobs.csv:4: needs the secret ''",
    ]
    assert asked(keyed, "orders", "jobs.csv", "-p", "sync", "--limit", "1")["batch"]["total_items"] == 1


def test_a_secret_chosen_by_what_is_not_known_yet_is_not_missing(keyed: Cli) -> None:
    assert asked(keyed, "files", "keys.json", "-p", "late")["batch"]["total_items"] == 1


def test_secrets_that_cannot_be_had_make_items_wait_and_refuse_nothing(keyed: Cli) -> None:
    (keyed.folder / "keys.json").unlink()
    assert asked(keyed, "orders", "--id", "1", "-p", "late", code=2)  # it needs `stem`
    (keyed.folder / "jobs.csv").write_text("id,account\n1,a1\n")
    assert asked(keyed, "orders", "jobs.csv", "-p", "sync")["batch"]["pending_items"] == 1
