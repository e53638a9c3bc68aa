"""The log of a real run: ids in each line, secrets masked, priorities where journald reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from conftest import Cli

CONFIG = """
store: q.db
worker: {min_free: 0}
processors:
  tell: {command: [sh, -c, 'echo "no $TOKEN" >&2; exit {{ code }}'], env: {TOKEN: "${TOKEN}"}, max_retries: 0}
"""


def enqueued(cli: Cli) -> str:
    cli.config(CONFIG)
    (cli.folder / "o.jsonl").write_text('{"id": "A 1", "code": 0}\n{"id": "B", "code": 65}\n')
    words = ("enqueue", "orders", "o.jsonl", "-p", "tell", "--print-id")
    return cli.ok(*words, TOKEN="open-sesame").strip()  # noqa: S106 - no secret


def test_each_item_is_a_line_with_its_ids(cli: Cli) -> None:
    batch = enqueued(cli)
    done = cli.run("run", "-v", "-j", "1", "--log-format", "json", TOKEN="open-sesame")  # noqa: S106 - no secret
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    items = {one["key"]: one for one in lines if one["event"].startswith("item_")}
    assert [items[key]["event"] for key in ("A 1", "B")] == ["item_completed", "item_failed"]
    assert {one["batch"] for one in items.values()} == {batch}
    assert {one["item"] for one in items.values()} == {1, 2}
    assert "no ***" in items["B"]["error"]
    assert "open-sesame" not in done.stderr
    assert lines[0]["event"] == "worker_started"


def test_without_v_a_run_logs_nothing(cli: Cli) -> None:
    enqueued(cli)
    assert "event=" not in cli.run("run", TOKEN="open-sesame").stderr  # noqa: S106 - no secret
    assert "event=" not in cli.run("check").stderr


def test_warnings_and_errors_are_lines_of_the_same_kind(cli: Cli) -> None:
    enqueued(cli)
    cli.config(
        CONFIG + "check: {alerts: {queue_depth: 1}}\nnotifications: [{to: 'json://127.0.0.1:9/x', events: [alert]}]\n"
    )
    cli.ok("pause", "latest")
    done = cli.run("check", BATCHCTL_LOG_FORMAT="json", TOKEN="open-sesame")  # noqa: S106 - no secret
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert {(one["level"], one["event"]) for one in told} == {("warning", "message")}
    assert any(one["message"].startswith("2 items are in the queue, more than 1; see") for one in told)
    cli.config(CONFIG + "check: {time_budget: soon}\n")
    done = cli.run("check", "--log-format", "json")
    (line,) = done.stderr.splitlines()
    one = json.loads(line)
    assert (done.returncode, one["level"], one["event"]) == (2, "error", "message")
    assert "time_budget" in one["details"]


def test_an_unknown_format_is_refused(cli: Cli) -> None:
    enqueued(cli)
    for how in ({"BATCHCTL_LOG_FORMAT": "xml"}, {}):
        done = cli.run("run", *([] if how else ["--log-format", "xml"]), **how)
        assert done.returncode == 2
        assert "it takes logfmt or json" in done.stderr


def test_the_journal_gets_priorities(cli: Cli) -> None:
    """Remarks, warnings, errors and the log, all of them: each line begins with its own."""
    enqueued(cli)
    read, write = os.pipe()
    facts = os.fstat(write)
    process = subprocess.Popen(
        [sys.executable, "-m", "batchctl", "run", "-v"],
        cwd=cli.folder,
        env=cli.environment(TOKEN="open-sesame", JOURNAL_STREAM=f"{facts.st_dev}:{facts.st_ino}"),  # noqa: S106
        stdout=subprocess.DEVNULL,
        stderr=write,
    )
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    assert process.wait() == 1
    assert lines
    assert all(re.match(r"<[3-7]>", line) for line in lines), lines
    assert any(line.startswith("<6>event=item_completed ") for line in lines)
    assert not any("time=" in line for line in lines)
