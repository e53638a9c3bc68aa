"""Lanes, steps, an outage and `into` in one processor: each row is there once, each lane in order."""

from __future__ import annotations

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish

WORK = """
import os
from pathlib import Path
from batchctl.handlers import Unavailable

def note(name, line):
    fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (line + "\\n").encode())
    os.close(fd)

def fetch(item, context):
    note("fetched", str(item["id"]))
    return {"half": item["id"] / 2}

def book(item, context):
    if not Path("up").exists():
        note("refused", str(item["id"]))
        raise Unavailable("the ledger is closed")
    note("booked", str(item["id"]))
    return [{"id": item["id"], "part": part, "half": item.steps["fetch"]["half"]} for part in (1, 2)]
"""
PROCESSOR = """
  ledger:
    steps:
      - {name: fetch, python: "work:fetch"}
      - {name: book, python: "work:book"}
    lane: {field: account, concurrency: 1}
    into: {table: ledger, pk: [id, part], add: {account: "{{ account }}"}}
"""


def test_an_item_that_waited_for_an_outage_between_its_steps_writes_its_rows_once(scene: Scene) -> None:
    scene.cli.config(CONFIG + PROCESSOR)
    (scene.folder / "work.py").write_text(WORK)
    scene.enqueue([{"id": n, "account": "AB"[n % 2]} for n in range(1, 9)], processor="ledger")
    worker = scene.worker("-j", "2")
    eventually(lambda: scene.value("SELECT count(*) FROM outages WHERE out_since IS NOT NULL"), "the outage is known")
    assert scene.lines("booked") == []
    scene.touch("up")
    finish(worker, 0)
    booked = [int(line) for line in scene.lines("booked")]
    assert sorted(booked) == list(range(1, 9))
    assert [n for n in booked if n % 2] == [1, 3, 5, 7]
    assert [n for n in booked if not n % 2] == [2, 4, 6, 8]
    assert len(scene.lines("fetched")) == 8  # what a step has found is kept while its item waits
    rows = scene.rows("SELECT id, part, half, account FROM ledger ORDER BY id, part")
    assert rows == [(n, part, n / 2, "AB"[n % 2]) for n in range(1, 9) for part in (1, 2)]
    assert scene.rows("SELECT DISTINCT attempts_used FROM items") == [(1,)]
    audit(scene)
