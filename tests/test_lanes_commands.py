"""Lanes at the border: what is refused at intake and by retry, what `why` says."""

from __future__ import annotations

import json

from conftest import Cli

CONFIG = """
store: q.db
worker: {min_free: 0}
processors:
  refuse: {command: [sh, -c, "exit 65"], lane: {field: customer.id}}
  files: {command: ["true"], lane: {field: dir}}
"""


def test_a_missing_or_odd_lane_is_refused_with_its_line(cli: Cli) -> None:
    cli.config(CONFIG)
    rows = [
        {"id": 1, "customer": {"id": "A"}},
        {"id": 2},
        {"id": 3, "customer": {"id": []}},
        {"id": 4, "customer.id": ""},
    ]
    (cli.folder / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = cli.json("enqueue", "orders", "o.jsonl", "-p", "refuse", code=2)
    assert document["error"]["details"] == [
        "o.jsonl:2: has no 'customer.id' for its lane",
        "o.jsonl:3: 'customer.id' is a list, but a lane takes text or a number",
        "o.jsonl:4: 'customer.id' is empty, but its lane needs a value",
    ]
    assert not (cli.folder / "q.db").exists()


def test_numbers_and_text_share_a_lane_and_files_go_by_their_folder(cli: Cli) -> None:
    cli.config(CONFIG)
    rows = [{"id": n, "customer": {"id": value}} for n, value in enumerate((7, "7", 7.0))]
    (cli.folder / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch = cli.ok("enqueue", "orders", "o.jsonl", "-p", "refuse", "--print-id").strip()
    assert [lane["lane"] for lane in cli.json("show", batch, "--by", "lane")["lanes"]] == ["7"]
    assert "waits for its lane 7" in cli.ok("why", f"{batch}/2")
    for folder in ("x", "y"):
        (cli.folder / folder).mkdir()
        (cli.folder / folder / "a.txt").write_text(folder)
    files = cli.ok("enqueue", "files", "x/a.txt", "y/a.txt", "-p", "files", "--print-id").strip()
    assert len(cli.json("show", files, "--by", "lane")["lanes"]) == 2


def test_new_data_may_not_move_an_item_to_another_lane(cli: Cli) -> None:
    cli.config(CONFIG)
    (cli.folder / "o.jsonl").write_text(json.dumps({"id": 1, "customer": {"id": "A"}}))
    batch = cli.ok("enqueue", "orders", "o.jsonl", "-p", "refuse", "--print-id").strip()
    assert cli.run("run").returncode == 1
    (cli.folder / "fix.jsonl").write_text(json.dumps({"id": 1, "customer": {"id": "B"}}))
    refused = cli.json("retry", batch, "--data", "fix.jsonl", code=2)
    assert refused["error"]["details"] == ["fix.jsonl:1: would leave its lane 'A': enqueue it anew instead"]
    assert cli.json("retry", batch, "--lane", "B")["retried_items"] == 0
    assert cli.json("retry", batch, "--lane", "A")["retried_items"] == 1
