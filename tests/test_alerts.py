"""Alerts: what is wrong, told once when it begins and once when it is over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from queuekit import Program

from batchctl.alerts import Facts, OpenBatch, judge, unserved
from batchctl.config import AlertRules
from batchctl.membership import Membership

HOUR = 3_600_000
NOW = 100 * HOUR
CONFIG = "worker: {min_free: 0}\nprocessors: {p: {command: ['true']}}\n"
BATCH = OpenBatch(
    no=1,
    id="b000000000001",
    name="june",
    processor="p",
    organization="",
    left=5,
    processed=5,
    claimable=True,
    started=True,
    held=False,
    since=NOW - HOUR,
    timeout=60.0,
)


def names(rules: AlertRules, *batches: OpenBatch, **facts: Any) -> list[str]:
    return [found.name for found in judge(Facts(now=NOW, batches=batches, **facts), rules)]


def test_nothing_is_wrong_with_an_empty_queue() -> None:
    everything = AlertRules(queue_depth=1, oldest_pending=1, failure_rate=0.01, no_worker=0, stuck=0)
    assert names(everything) == []


def test_the_depth_of_the_queue() -> None:
    assert names(AlertRules(queue_depth=9), BATCH, BATCH) == ["queue_depth"]
    assert names(AlertRules(queue_depth=10), BATCH, BATCH) == []
    assert names(AlertRules(), BATCH, BATCH) == []


def test_the_oldest_item_that_could_run() -> None:
    rules = AlertRules(oldest_pending=3599)
    assert names(rules, BATCH) == ["oldest_pending"]
    assert names(AlertRules(oldest_pending=3600), BATCH) == []
    assert names(rules, replace(BATCH, held=True)) == []
    (found,) = judge(Facts(now=NOW, batches=[BATCH]), rules)
    assert found.message == "items of b000000000001 (june) have waited for 1 h 0 min"
    assert found.command == "batchctl why b000000000001"


def test_the_share_of_failures_counts_from_ten_items_on() -> None:
    rules = AlertRules(failure_rate=0.2)
    assert names(rules, ended=10, failed=3) == ["failure_rate"]
    assert names(rules, ended=10, failed=2) == []
    assert names(rules, ended=9, failed=9) == []
    (found,) = judge(Facts(now=NOW, ended=10, failed=3), rules)
    assert found.message == "3 of 10 items failed within 1 h 0 min, more than 20%"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [({}, True), ({"held": True}, False), ({"started": False}, False), ({"claimable": False}, False)],
)
def test_a_batch_that_has_begun_and_stands_still(change: dict[str, bool], wrong: bool) -> None:
    rules = AlertRules(stuck=3600)
    one = replace(BATCH, **change)
    assert names(rules, one, still={1: NOW - HOUR - 61_000}) == (["stuck_batch"] if wrong else [])
    assert names(rules, one, still={1: NOW - HOUR - 59_000}) == []  # its items have a minute each


def test_a_processor_that_nobody_serves() -> None:
    assert unserved([BATCH], {"q"}) == {"p"}
    assert unserved([BATCH, replace(BATCH, processor="inline:true")], {"p"}) == set()
    assert unserved([replace(BATCH, held=True), replace(BATCH, left=0)], set()) == set()
    rules = AlertRules(no_worker=60)
    assert names(rules, BATCH, unserved={"p": NOW - 60_000}) == ["no_worker"]
    assert names(rules, BATCH, unserved={"p": NOW - 59_000}) == []
    assert names(AlertRules(no_worker=None), BATCH, unserved={"p": 0}) == []


def test_a_broken_processor_matters_while_items_wait_for_it() -> None:
    broken = {"p": "NotFound: no such program"}
    assert names(AlertRules(), BATCH, broken=broken) == ["processor_broken"]
    assert names(AlertRules(), replace(BATCH, processor="q"), broken=broken) == []


def test_a_disk_with_too_little_space() -> None:
    assert names(AlertRules(), free=499, least=500) == ["low_disk"]
    assert names(AlertRules(), free=500, least=500) == []


# -- through `check`


def configure(folder: Path, text: str) -> None:
    (folder / "batchctl.yaml").write_text(text)
    (folder / "batchctl.yaml").chmod(0o600)


def open_alerts(program: Program) -> list[str]:
    return [alert["name"] for alert in program("check", "--json").json["alerts"]]


def test_an_alert_is_told_once_when_raised_and_once_when_cleared(program: Program, tmp_path: Path) -> None:
    configure(tmp_path, CONFIG + "check: {alerts: {queue_depth: 2}}")
    program.queue.add(3)
    program("pause", "latest")
    first = program("check")
    assert first.err.splitlines() == ["warning: 3 items are in the queue, more than 2; see `batchctl stats`"]
    for _ in range(2):
        assert program("check").err == ""
        assert open_alerts(program) == ["queue_depth"]
    program("cancel", "latest", "-y")
    assert program("check").err == ""
    assert open_alerts(program) == []
    with program.queue.store.engine.read() as tx:
        assert tx.all("open_alerts") == []


def test_a_processor_that_was_renamed(program: Program, tmp_path: Path) -> None:
    """Its items are not lost; who looks after the queue hears of them, with the next step."""
    configure(tmp_path, CONFIG.replace("{p:", "{new-name:") + "check: {alerts: {no_worker: 0s}}")
    program.queue.add(2, name="june")
    done = program("check")
    assert "2 items wait for the processor p, which no worker knows" in done.err
    assert "was it renamed? Put it back into the config under that name" in done.err
    assert program("show", "june", "--json").json["batch"]["pending_items"] == 2
    configure(tmp_path, CONFIG)
    assert open_alerts(program) == []
    assert program("show", "june", "--json").json["batch"]["status"] == "completed"


def test_a_broken_processor_raises_one_alert_until_it_is_mended(program: Program, tmp_path: Path) -> None:
    configure(tmp_path, CONFIG.replace("'true'", "no-such-program"))
    program.queue.add(2)
    assert "the processor p is broken, 2 items wait" in program("check").err
    assert program("check").err == ""
    (alert,) = program("check", "--json").json["alerts"]
    assert (alert["name"], alert["subject"], alert["processor"]) == ("processor_broken", "p", "p")
    configure(tmp_path, CONFIG)
    assert program("check", "--json").json["drained"]["completed"] == 2
    assert open_alerts(program) == []


def test_a_batch_that_stands_still(program: Program, database: Database, tmp_path: Path) -> None:
    def stood_for(minutes: int) -> None:
        database.change("UPDATE watches SET since = since - ?", minutes * 60_000)

    configure(tmp_path, CONFIG + "check: {alerts: {stuck: 1h}}")
    program.queue.add(2, name="june")
    with Membership(program.queue.store.engine, 60.0, 1, ["p"]) as member:
        program.queue.worker = member.id
        item, other = program.queue.claim(2)
        assert open_alerts(program) == []
        stood_for(61)
        assert open_alerts(program) == []  # its items may take 30 minutes each
        stood_for(30)
        assert "has ended for 1 h 31 min, and 2 are left" in program("check").err
        program.queue.complete(item)
        assert open_alerts(program) == []
        program.queue.complete(other)


def test_the_failure_rate_of_the_last_hour(program: Program, tmp_path: Path) -> None:
    configure(tmp_path, CONFIG + "check: {alerts: {failure_rate: 20%}}")
    program.queue.add(10)
    for number, item in enumerate(program.queue.claim(10)):
        if number < 3:
            program.queue.fail(item)
        else:
            program.queue.complete(item)
    assert "3 of 10 items failed within 1 h 0 min, more than 20%" in program("check").err
    assert open_alerts(program) == ["failure_rate"]
    program.queue.add(10, name="better")
    for item in program.queue.claim(10):
        program.queue.complete(item)
    assert open_alerts(program) == []


def test_list_shows_what_is_open_and_check_says_so_with_v(program: Program, tmp_path: Path) -> None:
    configure(tmp_path, CONFIG + "check: {alerts: {queue_depth: 1}}")
    program.queue.add(2)
    program("pause", "latest")
    program("check")
    assert "2 items are in the queue, more than 1; see `batchctl stats`" in program("list").err
    assert "more than 1" not in program("--org", "acme", "list").err
    assert "still: 2 items are in the queue" in program("check", "-v").err
