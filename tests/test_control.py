"""retry, cancel, pause, resume, set: what they change, what they refuse, what they say."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from queuekit import Program

from batchctl.membership import Membership
from batchctl.model import AttemptOutcome, ItemState


def states(program: Program, batch: str = "june") -> list[str]:
    return [item["state"] for item in program("show", batch, "--json").json["items"]]


def failing(program: Program) -> None:
    """june: k1 completed, k2 and k3 failed (timeout, address), k4 cancelled."""
    program.queue.add([{"id": f"k{n}", "zip": "0"} for n in range(1, 5)], name="june")
    one, two, three, four = program.queue.claim(4)
    program.queue.complete(one)
    program.queue.fail(two, "timed out", "Timeout")
    program.queue.fail(three, "bad address")
    program.queue.settle(four, ItemState.CANCELLED, AttemptOutcome.CANCELLED)


def test_retry_sends_failed_items_back(program: Program) -> None:
    failing(program)
    document = program("retry", "june", "--json").json
    assert document["retried_items"] == 2
    assert (document["batches"][0]["run_no"], document["batches"][0]["status"]) == (2, "processing")
    assert states(program) == ["completed", "pending", "pending", "cancelled"]
    assert "nothing to retry" in program("retry", "june").err


@pytest.mark.parametrize(
    ("args", "after"),
    [
        (["june", "--cancelled"], "completed pending pending pending"),
        (["june", "--error", "timed"], "completed pending failed cancelled"),
        (["june", "--error", "NotFound: bad"], "completed failed pending cancelled"),
        (["june/k3"], "completed failed pending cancelled"),
        (["2", "3"], "completed pending pending cancelled"),
        (["1"], "completed failed failed cancelled"),
        (["4", "--cancelled"], "completed failed failed pending"),
        (["--all-failed"], "completed pending pending cancelled"),
        (["june", "--all-failed"], "completed pending pending cancelled"),
        (["--all-failed", "--org", "other"], "completed failed failed cancelled"),
    ],
)
def test_retry_picks(program: Program, args: list[str], after: str) -> None:
    failing(program)
    program("retry", *args)
    assert states(program) == after.split()


def test_retry_with_corrected_orders(program: Program, tmp_path: Path) -> None:
    failing(program)
    (tmp_path / "fixed.csv").write_text("id,zip\nk3,8000\nk1,9999\n")
    assert program("retry", "june", "--data", "fixed.csv", "--json").json["retried_items"] == 1
    items = program("show", "june", "--json").json["items"]
    assert [item["state"] for item in items] == ["completed", "failed", "pending", "cancelled"]
    assert items[2]["payload"] == {"id": "k3", "zip": "8000"}
    assert items[0]["payload"] == {"id": "k1", "zip": "0"}


def test_retry_with_what_results_wrote(program: Program, tmp_path: Path) -> None:
    failing(program)
    program("results", "june", "--status", "failed", "-o", "failed.csv")
    path = tmp_path / "failed.csv"
    path.write_text(path.read_text().replace("k2,0", "k2,1234"))
    assert program("retry", "june", "--data", "failed.csv", "--json").json["retried_items"] == 2
    assert program("show", "june/k2", "--json").json["item"]["payload"] == {"id": "k2", "zip": "1234"}


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (
            "id,zip\nk3,1\nk9,2\nk3,3\n",
            ["fixed.csv:3: no item has the key 'k9'", "fixed.csv:4: the key 'k3' stands twice"],
        ),
        ("street\nx\n", ["fixed.csv:2: has none of the usual key fields"]),
        ("id,zip\nk3,1,2,3\n", ["fixed.csv:2"]),
        ("", ["fixed.csv"]),
    ],
)
def test_bad_corrections_change_nothing(program: Program, tmp_path: Path, text: str, reasons: list[str]) -> None:
    failing(program)
    (tmp_path / "fixed.csv").write_text(text)
    error = program("retry", "june", "--data", "fixed.csv", "--json", code=2).json["error"]
    assert len(error["details"]) == len(reasons)
    assert all(found.startswith(reason) for found, reason in zip(error["details"], reasons, strict=True))
    assert states(program) == ["completed", "failed", "failed", "cancelled"]


def test_retry_of_several_names_is_all_or_nothing(program: Program) -> None:
    failing(program)
    answer = program("retry", "june", "july", "99", code=4)
    assert "july" in answer.err
    assert "99" in answer.err
    assert states(program) == ["completed", "failed", "failed", "cancelled"]


def test_cancel_a_batch(program: Program) -> None:
    program.queue.add(3, name="june")
    document = program("cancel", "june", "--json").json
    assert document["cancelled_items"] == 3
    assert document["batches"][0]["status"] == "cancelled"
    assert "nothing to cancel" in program("cancel", "june").err


def test_cancel_items(program: Program) -> None:
    program.queue.add(3, name="june")
    assert program("cancel", "june/k2", "3", "--json").json["cancelled_items"] == 2
    assert states(program) == ["pending", "cancelled", "cancelled"]
    program("cancel", "june/k9", code=4)


def test_cancel_waits_and_says_how_running_items_ended(program: Program) -> None:
    program.queue.add(3, name="june")
    with Membership(program.queue.store.engine, lease=60.0, concurrency=2, processors=["p"]) as member:
        program.queue.worker = member.id
        one, two = program.queue.claim(2)

        def end() -> None:
            while not program.queue.views().batch(one.batch.no)["cancelled_items"]:
                time.sleep(0.01)
            program.queue.complete(one)
            program.queue.settle(two, ItemState.CANCELLED, AttemptOutcome.CANCELLED)

        worker = threading.Thread(target=end)
        worker.start()
        document = program("cancel", "june", "--json").json
        worker.join()
    assert [(item["key"], item["state"]) for item in document["running"]] == [("k1", "completed"), ("k2", "cancelled")]
    assert document["cancelled_items"] == 2


def test_cancel_waits_for_nobody_who_is_gone(program: Program) -> None:
    program.queue.add(2, name="june")
    program.queue.claim(1)
    answer = program("cancel", "june")
    assert answer.out == "1  k1: its worker is gone; the next run ends it\n"


def test_pause_and_resume_a_batch(program: Program) -> None:
    program.queue.add(2, name="june")
    assert program("pause", "june", "--json").json["changed"] == 1
    assert program.queue.claim(2) == []
    assert "resume" in program("why", "june").out
    assert program("resume", "june", "--json").json["batches"][0]["paused"] is False
    assert len(program.queue.claim(2)) == 2
    assert "not paused" in program("resume", "june").err


def test_pause_tells_the_way_back(program: Program) -> None:
    program.queue.add(1, name="june", processor="p")
    for what, back in (("june", "resume june"), ("--processor p", "resume --processor p"), ("--all", "resume --all")):
        assert f"`batchctl {back}`" in program("pause", *what.split()).err
        program(*back.split())


def test_pause_until(program: Program) -> None:
    program.queue.add(1, name="june")
    document = program("pause", "june", "--until", "+2h", "--json").json
    assert document["until"].endswith("Z")
    assert program("show", "june", "--json").json["items"][0]["waiting_for"] == "paused"
    program("pause", "june", "--until", "2001-01-01", code=2)


def test_pause_a_processor_or_everything(program: Program) -> None:
    program.queue.add(1, name="june")
    program.queue.add(1, name="july", processor="q")
    program("pause", "--processor", "p")
    assert states(program, "june") == ["waiting"]
    assert states(program, "july") == ["pending"]
    program("pause", "--all")
    assert states(program, "july") == ["waiting"]
    program("resume", "--all")
    assert states(program, "june") == states(program, "july") == ["pending"]
    answer = program("pause", "--processor", "pp", code=2)
    assert "did you mean 'p'" in answer.err


def test_pausing_everything_of_one_organization(program: Program) -> None:
    program.queue.add(1, name="june", org="acme")
    program.queue.add(1, name="july")
    program("pause", "--all", "--org", "acme")
    assert states(program, "june") == ["waiting"]
    assert states(program, "july") == ["pending"]
    program("pause", "july", "--org", "acme", code=4)
    program("pause", "--processor", "p", "--org", "acme", code=2)


def test_set(program: Program) -> None:
    program.queue.add(1, name="june")
    batch = program("set", "june", "--priority", "high", "--name", "july", "--json").json["batch"]
    assert (batch["priority"], batch["name"]) == ("high", "july")
    program("set", "july", "--not-before", "+1h")
    assert program("show", "july", "--json").json["items"][0]["waiting_for"] == "schedule"
    program("set", "july", "--not-before", "now")
    assert states(program, "july") == ["pending"]
    for wrong in (
        [],
        ["--priority", "urgent"],
        ["--name", ""],
        ["--name", "a\nb"],
        ["--name", "latest"],
        ["--not-before", "soon"],
    ):
        program("set", "july", *wrong, code=2)


def test_an_ended_batch_can_only_be_renamed(program: Program) -> None:
    program.queue.add(1, name="june")
    program("cancel", "june")
    program("set", "june", "--priority", "low", code=2)
    assert program("set", "june", "--name", "old", "--json").json["batch"]["name"] == "old"


def test_acts_are_in_the_history_with_who_did_them(program: Program) -> None:
    program.queue.add(1, name="june")
    program("pause", "june", "--user", "bob")
    program("resume", "june", "--user", "eve")
    program("cancel", "june", "--user", "joe", "-y")
    found = program("history", "june", "--json").json["history"]
    assert [(entry["event"], entry["actor"]) for entry in found][1:4] == [
        ("paused", "bob"),
        ("resumed", "eve"),
        ("cancel", "joe"),
    ]


def test_the_history_of_set_tells_what_was_changed(program: Program) -> None:
    program.queue.add(1, name="june")
    program("set", "june", "--priority", "high")
    program("set", "june", "--not-before", "2101-01-01T00:00")
    program("pause", "june", "--until", "2101-01-01T00:00")
    high, later, paused = (entry["detail"] for entry in program("history", "june", "--json").json["history"][-3:])
    assert high == {"priority": "high"}
    assert list(later) == ["not_before"]
    assert list(paused) == ["until"]
    assert all(time.startswith("210") and time.endswith("Z") for time in (*later.values(), *paused.values()))
    lines = program("history", "june").out.splitlines()
    assert lines[-3].endswith("(priority high)")
    assert lines[-2].endswith("(not_before 2101-01-01 00:00:00)")
