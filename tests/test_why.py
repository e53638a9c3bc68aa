"""why: facts in, sentences out; and the command that gathers the facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from queuekit import Program

from batchctl import why
from batchctl.membership import Membership
from batchctl.model import WaitingFor
from batchctl.patterns import Failure, grouped
from batchctl.views.gates import Gate

NOW = 1_000_000
WORKER = {"processors": ["p"], "alive": True}


def batch(**more: Any) -> dict[str, Any]:
    states = ("pending", "waiting", "processing", "submitted", "completed", "failed", "cancelled")
    counts = {f"{state}_items": more.pop(state, 0) for state in states}
    base = {"id": "b1", "processor": "p", "status": "processing", "completed_at": None}
    return base | counts | {"total_items": sum(counts.values())} | more


def item(**more: Any) -> dict[str, Any]:
    base = {"id": 7, "state": "pending", "waiting_for": None, "attempts": 0, "error": None, "worker": None}
    return base | {"progress": None} | more


def at(ms: int) -> str:
    return f"T{ms}"


def of_batch(queue: why.Queue, failures: list[Failure] | None = None, **more: Any) -> str:
    facts = why.BatchFacts(batch(**more), grouped(failures or []))
    return "\n".join(why.explain_batch(facts, queue, at))


def of_item(facts: why.ItemFacts, queue: why.Queue) -> str:
    return "\n".join(why.explain_item(facts, batch(pending=5), queue, at))


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        (Gate(WaitingFor.PAUSED, None, "batch"), "paused by bob; `batchctl resume b1`"),
        (Gate(WaitingFor.PAUSED, 5, "batch"), "until T5"),
        (Gate(WaitingFor.PAUSED, None, "everything"), "`batchctl resume --all`"),
        (Gate(WaitingFor.PAUSED, None, "processor"), "`batchctl resume --processor p`"),
        (Gate(WaitingFor.SCHEDULE, 9, "batch"), "nothing starts before T9"),
        (Gate(WaitingFor.OUTAGE, 9, "outage", 3, "https://x: ConnectError: refused"), "tries it, the next at T9"),
        (Gate(WaitingFor.OUTAGE, None, "outage", 3, "https://x: ConnectError: refused"), "down since T3: https://x"),
        (Gate(WaitingFor.PROCESSOR, None, "broken", 3, "ImportError: no x"), "broken since T3: ImportError: no x"),
    ],
)
def test_a_closed_gate_is_the_reason(gate: Gate, says: str) -> None:
    queue = why.Queue(NOW, gate=gate, paused_by="bob", workers=[WORKER])
    assert says in of_batch(queue, waiting=5)
    assert says in of_item(why.ItemFacts(item(state="waiting", waiting_for=gate.reason)), queue)


def test_nobody_is_alive() -> None:
    assert "`batchctl run` starts one" in of_batch(why.Queue(NOW), pending=5)
    assert "`batchctl run` starts one" in of_item(why.ItemFacts(item()), why.Queue(NOW))


def test_nobody_has_the_processor() -> None:
    other = {"processors": ["q"], "alive": True}
    text = of_batch(why.Queue(NOW, workers=[other], here=False, place="The config x.yaml"), pending=5)
    assert "1 worker is alive, but it does not have the processor p" in text
    assert "The config x.yaml does not have the processor p" in text
    assert "none of them has the processor p" in of_batch(why.Queue(NOW, workers=[other, other]), pending=5)


def test_the_config_here_has_problems_with_it() -> None:
    queue = why.Queue(NOW, place="The config x.yaml", problems=["${TOKEN} is not set"])
    assert "The config x.yaml has it, but it cannot run: ${TOKEN} is not set." in of_batch(queue, pending=5)


def test_an_inline_command_needs_no_config() -> None:
    facts = why.BatchFacts(batch(pending=5, processor="inline:gzip"))
    queue = why.Queue(NOW, workers=[{"processors": [], "alive": True}], here=False)
    assert "config" not in "\n".join(why.explain_batch(facts, queue, at))


def test_others_are_ahead() -> None:
    queue = why.Queue(NOW, ahead_batches=2, ahead_items=412, workers=[WORKER])
    assert "412 items of 2 batches" in of_batch(queue, pending=5)
    text = of_item(why.ItemFacts(item(), ahead=3), queue)
    assert "3 items of its batch are ahead of it" in text
    assert "412 items" in text
    assert "the next of its batch" in of_item(why.ItemFacts(item()), why.Queue(NOW, workers=[WORKER]))


def test_all_that_may_run_of_its_processor_runs() -> None:
    queue = why.Queue(NOW, workers=[WORKER], ahead_batches=1, ahead_items=4, running=2, most=2)
    for said in (of_item(why.ItemFacts(item()), queue), of_batch(queue, pending=5)):
        assert "p has 2 of 2 running" in said
        assert "go first" not in said
    assert "4 items" in of_item(why.ItemFacts(item()), why.Queue(NOW, workers=[WORKER], ahead_batches=1, ahead_items=4))


def test_its_processors_rate_and_nobody_is_alive() -> None:
    gate = Gate(WaitingFor.RATE, NOW + 9, "rate")
    queue = why.Queue(NOW, gate, pace=(60_000.0, NOW + 9.0))
    waiting = item(state="waiting", waiting_for="rate")
    for said in (of_item(why.ItemFacts(waiting), queue), of_batch(queue, waiting=5)):
        assert f"one item every 60 s; the next may start at T{NOW + 9}" in said
        assert "No worker is alive." in said
        assert "broken" not in said


def test_a_broken_processor_whose_config_has_a_problem_too() -> None:
    gate = Gate(WaitingFor.PROCESSOR, None, "broken", NOW, "AccessDenied: HTTP 401")
    queue = why.Queue(NOW, gate=gate, place="The config x.yaml", problems=["TOKEN is not set"])
    text = of_batch(queue, waiting=5)
    assert "HTTP 401" in text
    assert "The config x.yaml has it, but it cannot run: TOKEN is not set." in text


def test_a_retry_is_due() -> None:
    waiting = item(state="waiting", waiting_for="retry", attempts=1, error={"type": "Timeout", "message": "slow.\nx"})
    text = of_item(why.ItemFacts(waiting, due=NOW + 5), why.Queue(NOW, workers=[WORKER]))
    assert text == f"Its last try failed: Timeout: slow.\nIts next try is due at T{NOW + 5}."
    assert "was due" in of_item(why.ItemFacts(waiting, due=NOW - 5), why.Queue(NOW))
    assert f"the first is due at T{NOW + 5}" in of_batch(why.Queue(NOW, next_retry=NOW + 5), waiting=5)


@pytest.mark.parametrize(
    ("permanent", "attempts", "says"),
    [(True, 1, ["its first try", "permanent"]), (False, 4, ["4 tries", "out of retries"])],
)
def test_failed(permanent: bool, attempts: int, says: list[str]) -> None:
    error = {"type": "NotFound", "message": "no such customer", "permanent": permanent}
    text = of_item(why.ItemFacts(item(state="failed", attempts=attempts, error=error)), why.Queue(NOW))
    for words in [*says, "NotFound: no such customer", "`batchctl retry 7`", "`batchctl logs 7`"]:
        assert words in text


def test_running_and_its_worker_is_gone() -> None:
    running = item(state="processing", worker="w1", progress=45.0)
    text = of_item(why.ItemFacts(running, started=3, holder={"alive": True}), why.Queue(NOW))
    assert text == "It has been running since T3 on worker w1, 45% done."
    assert "not alive any more" in of_item(why.ItemFacts(running, started=3), why.Queue(NOW))
    assert "cancelled" in of_item(why.ItemFacts(running, started=3, told=True), why.Queue(NOW))


def test_a_suspect_is_tried_alone() -> None:
    assert "alone" in of_item(why.ItemFacts(item(), suspect=True), why.Queue(NOW, workers=[WORKER]))


def test_a_finished_batch_with_failures_names_the_most_frequent() -> None:
    failures = [Failure(n, f"k{n}", "b1", "Timeout", f"after {n} s", permanent=False) for n in range(3)]
    failures.append(Failure(9, "k9", "b1", "Other", "x", permanent=False))
    text = of_batch(why.Queue(NOW), failures, failed=4, completed=1, status="completed_with_errors", completed_at="x")
    assert "completed with errors: of 5 items 1 completed, 4 failed" in text
    assert "3 of 4 items failed with Timeout: after 0 s." in text
    assert "`batchctl retry b1`" in text
    assert "No worker" not in text


def test_the_command_gathers_the_facts(program: Program) -> None:
    program.queue.add(3, name="june")
    assert "No worker is alive" in program("why", "june").out
    with Membership(program.queue.store.engine, lease=60.0, concurrency=1, processors=["p"]) as member:
        program.queue.worker = member.id
        program.queue.add(4, name="july")
        (item,) = program.queue.claim(1)
        assert f"on worker {member.id}" in program("why", item.number).out
        assert "not alive" not in program("why", item.number).out
        assert "2 items of its batch are ahead of it" in program("why", "july/k3").out
        assert "3 items of 1 batch" in program("why", "july/k3").out
        program.queue.fail(item, "bad")
    document = program("why", "june/k1", "--json").json
    assert (document["id"], document["state"]) == (item.number, "failed")
    assert "NotFound: bad" in document["reasons"][0]


def test_a_batch_whose_gate_is_closed_is_not_ahead(program: Program) -> None:
    for name, processor in (("paused", "p"), ("later", "p"), ("held", "q")):
        program.queue.add(3, name=name, processor=processor)
    program.queue.add(1, name="july")
    with Membership(program.queue.store.engine, lease=60.0, concurrency=1, processors=["p", "q"]):
        assert "9 items of 3 batches" in program("why", "july").out
        program("pause", "paused")
        program("set", "later", "--not-before", "+2h")
        program("pause", "--processor", "q")
        assert "go first" not in program("why", "july").out


def test_other_organizations_are_not_counted(program: Program) -> None:
    program.queue.add(3, org="theirs", name="june")
    program.queue.add(1, org="ours", name="july")
    program("set", "june", "--priority", "high")
    with Membership(program.queue.store.engine, lease=60.0, concurrency=1, processors=["p"]):
        assert "3 items of 1 batch" in program("why", "july").out
        assert "3 items" not in program("why", "july", "--org", "ours").out


def test_a_broken_config_does_not_keep_why_from_answering(program: Program, tmp_path: Path) -> None:
    program.queue.add(1, name="june")
    (tmp_path / "batchctl.yaml").write_text("stroe: x\n")
    (tmp_path / "batchctl.yaml").chmod(0o600)
    assert "`batchctl config check`" in program("why", "june").out
