"""list, show, find, history, logs, errors, workers as people and scripts see them."""

from __future__ import annotations

import json
import os
import threading

import pytest
from queuekit import Program

from batchctl.commands.logs import added
from batchctl.membership import Membership


def test_list(program: Program) -> None:
    program.queue.add(3, name="june", org="acme")
    (item, *_) = program.queue.claim(1)
    program.queue.fail(item)
    head, line = program("list").out.splitlines()
    assert head.split()[:2] == ["BATCH", "NAME"]
    assert line.split()[1:7] == ["june", "p", "processing", "3", "1", "1"]
    (batch,) = program("list", "--json").json["batches"]
    assert (batch["name"], batch["failed_items"]) == ("june", 1)


def test_list_says_when_there_is_more(program: Program) -> None:
    for _ in range(3):
        program.queue.add(1)
    answer = program("list", "--limit", "2")
    assert len(answer.out.splitlines()) == 3
    assert "2 of 3 batches" in answer.err
    assert program("list", "--limit", "2", "-q").err == ""
    assert len(program("list", "--limit", "2", "--offset", "2", "--json").json["batches"]) == 1


def test_list_takes_several_states(program: Program) -> None:
    program.queue.add(1)
    (item,) = program.queue.claim()
    program.queue.complete(item)
    program.queue.add(1)
    assert program("list", "--status", "completed", "--json").json["total"] == 1
    assert program("list", "--status", "completed,pending", "--json").json["total"] == 2
    assert program("list", "--status", "completed", "--status", "pending", "--json").json["total"] == 2


def test_show_a_batch(program: Program) -> None:
    program.queue.add(4, name="june")
    one, two = program.queue.claim(2)
    program.queue.complete(one)
    program.queue.fail(two, "customer 4711 is\nunknown")
    answer = program("show", "june")
    assert "1 processing" not in answer.out
    assert "2 pending, 1 completed, 1 failed" in answer.out.replace("2 pending, ", "2 pending, ")
    assert "customer 4711 is\\nunknown" in answer.out
    document = program("show", "june", "--json").json
    assert list(document) == ["batch", "items", "summary", "concurrency"]
    assert document["summary"]["total"] == 4
    assert [item["state"] for item in document["items"]] == ["completed", "failed", "pending", "pending"]


def test_show_takes_a_page_of_items(program: Program) -> None:
    program.queue.add(5)
    answer = program("show", "latest", "--limit", "2", "--offset", "1")
    assert "items 2 to 3 of 5" in answer.err
    page = program("show", "latest", "--limit", "2", "--offset", "1", "--json").json["items"]
    assert [item["key"] for item in page] == ["k2", "k3"]
    assert program("show", "latest", "--items", "failed", "--json").json["items"] == []
    assert program("show", "latest", "--items", "none", "--json").json["items"] == []


def test_show_an_item(program: Program) -> None:
    program.queue.add([{"id": "k1", "total": 12}], name="june")
    (item,) = program.queue.claim()
    program.queue.complete(item, {"pdf": "out/k1.pdf"}, artifacts=json.dumps(["/tmp/k1.pdf"]))  # noqa: S108 - a name
    for name in (str(item.number), "june/k1"):
        answer = program("show", name)
        assert "completed" in answer.out
        assert '"pdf": "out/k1.pdf"' in answer.out
        assert "/tmp/k1.pdf" in answer.out  # noqa: S108 - a name
    document = program("show", "june/k1", "--json").json
    assert document["item"]["result"] == {"pdf": "out/k1.pdf"}
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["completed"]


def test_show_a_group_shows_its_batches(program: Program) -> None:
    program.queue.add(4, split=2, name="big")
    assert [batch["total_items"] for batch in program("show", "big", "--json").json["batches"]] == [2, 2]
    assert program("show", "big").out.count("progress") == 2


def test_find(program: Program) -> None:
    program.queue.add([{"id": "k1", "customer": "ACME"}, {"id": "k2", "customer": "ACME"}])
    assert [item["key"] for item in program("find", "ACME", "--json").json["items"]] == ["k2", "k1"]
    assert [line.split()[2] for line in program("find", "ACME").out.splitlines()[1:]] == ["k2", "k1"]
    answer = program("find", "ACME", "--limit", "1")
    assert "there are more" in answer.err
    assert program("find", "ACME", "--field", "id", "--json").json == {"items": []}
    assert program("find", "k1", "--since", "1h", "--json").json["items"]
    assert program("find", "k1", "--since", "2999-01-01", "--json").json["items"] == []


def test_history_tells_the_story_in_order(program: Program) -> None:
    (no,) = program.queue.add(2, name="june")
    one, two = program.queue.claim(2)
    program.queue.fail(one, "first line\nsecond line")
    program.queue.complete(two)
    program.queue.store.retry(no, "bob")
    program.queue.store.pause([no], None, "bob")
    found = program("history", "june", "--json").json["history"]
    assert [entry["event"] for entry in found] == [
        "enqueued",
        "attempt",
        "attempt",
        "completed_with_errors",
        "retry",
        "paused",
    ]
    assert [entry["at"] for entry in found] == sorted(entry["at"] for entry in found)
    assert [entry["actor"] for entry in found] == ["ann", None, None, None, "bob", "bob"]
    lines = program("history", "june").out.splitlines()
    assert len(lines) == 6
    assert "first line" in lines[1]
    ours = program("history", one.number, "--json").json["history"]
    assert [entry["item_id"] for entry in ours if entry["event"] == "attempt"] == [one.number]


def test_logs(program: Program) -> None:
    program.queue.add(1)
    (item,) = program.queue.claim()
    assert "nothing" in program("logs", item.number).err
    program.queue.retry_later(item, at=1)
    (item,) = program.queue.claim()
    program.queue.fail(item, log="second\n\x1b[31mtry\n")
    assert program("logs", item.number).out == "second\n\x1b[31mtry\n"
    assert program("logs", item.number, "--attempt", 2).out == "second\n\x1b[31mtry\n"
    assert program("logs", item.number, "--attempt", 1).out == ""
    program("logs", item.number, "--attempt", 3, code=4)
    logs = program("logs", item.number, "--json").json["logs"]
    assert logs == [{"attempt": 2, "text": "second\n\x1b[31mtry\n"}]


def test_logs_follow_until_the_item_has_ended(program: Program) -> None:
    program.queue.add(1)
    (item,) = program.queue.claim()
    end = threading.Timer(0.3, lambda: program.queue.complete(item, log="the end\n"))
    end.start()
    assert program("logs", item.number, "-f").out == "the end\n"
    end.join()


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("a\n", "a\n", ""),
        ("start " + "x" * 300 + "end", "…" + "x" * 250 + "end and more", " and more"),
        ("gone", "quite another", "quite another"),
    ],
)
def test_a_log_that_lost_its_start_goes_on_where_it_was(before: str, now: str, new: str) -> None:
    assert added(before, now) == new


def test_errors_are_grouped(program: Program) -> None:
    program.queue.add(4, name="june")
    for n, item in enumerate(program.queue.claim(4)):
        program.queue.fail(item, f"customer {n} is unknown" if n else "disk, full: 100%\nmore")
    document = program("errors", "june", "--json").json
    assert document["failed_items"] == 4
    assert [(group["count"], group["pattern"]) for group in document["errors"]] == [
        (3, "customer <n> is unknown"),
        (1, "disk, full: <n>%"),
    ]
    assert document["errors"][0]["example"]["message"] == "customer 1 is unknown"
    assert program("errors").out == program("errors", "june").out
    assert program("errors", "--format", "json").json == document
    github = program("errors", "--format", "github").out.splitlines()
    assert github[1] == "::error title=NotFound%2C 1 item::disk, full: <n>%25 (for example k1)"
    markdown = program("errors", "--format", "markdown").out.splitlines()
    assert len(markdown) == 4
    assert all(line.startswith("|") for line in markdown)


def test_no_errors_is_no_failure(program: Program) -> None:
    program.queue.add(1)
    assert program("errors").out == ""
    assert program("errors", "--json").json == {"errors": [], "failed_items": 0}


def test_workers(program: Program) -> None:
    assert program("workers", "--json").json == {"workers": []}
    engine = program.queue.store.engine
    with Membership(engine, lease=60.0, concurrency=3, processors=["p"]) as member:
        program.queue.worker = member.id
        program.queue.add(2, org="acme")
        (item,) = program.queue.claim(1)
        (worker,) = program("workers", "--json").json["workers"]
        assert (worker["id"], worker["state"], worker["alive"]) == (member.id, "alive", True)
        assert (worker["pid"], worker["concurrency"], worker["processors"]) == (os.getpid(), 3, ["p"])
        assert [held["key"] for held in worker["items"]] == ["k1"]
        assert program("workers", "--org", "other", "--json").json["workers"][0]["items"] == []
        assert "alive" in program("workers").out
        program.queue.complete(item)
    assert program("workers", "--json").json == {"workers": []}
