"""`config check|show|schema` as people type them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Cli

VALUE = "hunter2"
GOOD = """\
processors:
  greet: {command: [echo, "{{ name }}"]}
  send: {http: {url: "https://x/{{ id }}", headers: {Authorization: "Bearer ${TOKEN}"}}}
"""


def test_check_says_ok_and_names_the_processors(cli: Cli) -> None:
    path = cli.config(GOOD)
    assert cli.ok("config", "check", TOKEN=VALUE).splitlines() == [
        f"{path}: ok, 2 processors",
        "  greet (command)",
        "  send (http)",
    ]
    answer = cli.json("config", "check", TOKEN=VALUE)
    assert (answer["valid"], answer["config"], answer["problems"]) == (True, str(path), [])
    assert [p["name"] for p in answer["processors"]] == ["greet", "send"]


def test_check_lists_every_problem(cli: Cli) -> None:
    cli.config(GOOD + "  bad: {command: [echo, '{{ id'], timeout: soon}\nworkers: {}\n")
    done = cli.run("config", "check")
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "batchctl.yaml:3:69: send: the environment variable TOKEN is not set",
        "batchctl.yaml:4:25: processors.bad.command[1]: this template is wrong: unexpected end of template, "
        "expected 'end of print statement'.",
        "batchctl.yaml:4:44: processors.bad.timeout: `soon` is not a duration: write 30s, 15m or 1h30m",
        "batchctl.yaml:5:1: unknown key `workers` in the config; did you mean `worker`?",
    ]
    assert "4 problems" in done.stderr
    answer = cli.json("config", "check", code=2)
    assert answer["valid"] is False
    assert [(p["line"], p["column"], p["level"]) for p in answer["problems"]] == [
        (3, 69, "processor"), (4, 25, "error"), (4, 44, "error"), (5, 1, "error"),
    ]  # fmt: skip
    assert answer["error"]["code"] == 2
    assert answer["error"]["details"] == done.stdout.splitlines()


def test_check_ends_with_2_where_a_processor_cannot_run(cli: Cli) -> None:
    cli.config(GOOD)
    done = cli.run("config", "check")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert cli.run("list").returncode == 0


def test_check_without_a_config(cli: Cli) -> None:
    done = cli.run("config", "check")
    assert done.returncode == 0
    assert "no config file found" in done.stdout
    assert str(cli.folder / "batchctl.yaml") in done.stderr


def test_a_wrong_config_is_refused_by_every_command_with_all_reasons(cli: Cli) -> None:
    cli.config("stroe: x\nworker: 5\n")
    answer = cli.json("list", code=2)["error"]
    assert (answer["type"], len(answer["details"])) == ("ConfigError", 2)


def test_show_masks_secrets(cli: Cli) -> None:
    cli.config(GOOD + "secrets: {a: {b: '${TOKEN}'}}\ndefaults: {timeout: 5m}\n")
    shown = cli.ok("config", "show", TOKEN=VALUE)
    assert VALUE not in shown
    assert "Authorization: Bearer ***" in shown
    assert "timeout: 5m" in shown
    config = cli.json("config", "show", TOKEN=VALUE)["config"]
    assert config["secrets"] == {"a": {"b": "***"}}
    assert config["worker"]["concurrency"] == 3
    assert config["defaults"]["backoff"]["base"] == "30s"


def test_show_without_a_config(cli: Cli) -> None:
    answer = cli.json("config", "show", BATCHCTL_CONCURRENCY="8")
    assert answer["path"] is None
    assert answer["config"]["worker"]["concurrency"] == 8
    assert answer["config"]["store"].startswith(str(cli.folder / "home"))


def test_the_schema_is_json_schema_for_every_key(cli: Cli) -> None:
    schema = json.loads(cli.ok("config", "schema"))
    assert schema["additionalProperties"] is False
    processor = schema["properties"]["processors"]["additionalProperties"]
    assert {"command", "http", "python", "timeout", "accept"} <= processor["properties"].keys()
    assert processor["properties"]["http"]["required"] == ["url"]
