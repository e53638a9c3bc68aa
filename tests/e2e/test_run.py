"""`run`: what it drains, how many at once, what it answers, what is to be seen while it works."""

from __future__ import annotations

import json
import sys

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish

RUN_FIELDS = {"completed", "failed", "retried", "unfinished_items", "batches", "duration_ms"}


def test_every_item_runs_once_and_its_result_is_stored(scene: Scene) -> None:
    batch = scene.enqueue(20)
    answer = scene.drain("-j", "4")
    assert set(answer) == RUN_FIELDS
    assert (answer["completed"], answer["failed"], answer["retried"], answer["unfinished_items"]) == (20, 0, 0, 0)
    assert [(one["id"], one["status"], one["completed_items"]) for one in answer["batches"]] == [
        (batch, "completed", 20)
    ]
    assert sorted(start["key"] for start in scene.ran()) == sorted(str(n) for n in range(1, 21))
    results = [json.loads(line) for line in scene.cli.ok("results", batch).splitlines()]
    assert [one["result"] for one in results] == [{"key": str(n)} for n in range(1, 21)]
    audit(scene)


def test_heartbeats_in_a_quick_drain_take_nothing_away(scene: Scene) -> None:
    """Outcomes pass by the heartbeat on their way into the store all the time; none may be taken for lost."""
    (scene.folder / "work.py").write_text(
        "import os\n"
        "def call(item, context):\n"
        "    fd = os.open('called', os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "    os.write(fd, b'%d\\n' % item.number)\n"
        "    os.close(fd)\n"
    )
    scene.cli.config(CONFIG.replace("lease: 60s", "lease: 1s"))
    scene.enqueue(8_000, processor="call")
    assert scene.drain("-j", "2")["completed"] == 8_000
    assert len(scene.lines("called")) == 8_000
    assert scene.value("SELECT max(claim_no) FROM items") == 1
    audit(scene)


def test_as_many_at_once_as_asked_for_and_no_more(scene: Scene) -> None:
    scene.enqueue([{"id": n, "hold": "go"} for n in range(8)])
    worker = scene.worker("-j", "3")
    scene.holds(3)
    assert scene.value("SELECT count(*) FROM items WHERE state = 'processing'") >= 3
    assert len(scene.lines("held")) == 3
    scene.touch("go")
    finish(worker, 0)
    audit(scene)


def test_a_processor_s_concurrency_holds_across_workers(scene: Scene) -> None:
    scene.cli.config(CONFIG + f'  narrow: {{command: ["{sys.executable}", -I, -S, deed.py], concurrency: 2}}\n')
    scene.enqueue([{"id": n, "hold": "go"} for n in range(6)], processor="narrow")
    workers = [scene.worker("-j", "4") for _ in range(2)]
    scene.holds(2)
    eventually(lambda: scene.value("SELECT count(*) FROM workers") == 2)
    assert scene.value("SELECT count(*) FROM items WHERE state = 'processing'") == 2
    scene.touch("go")
    for worker in workers:
        finish(worker, 0)
    assert _most_at_once(scene) <= 2
    audit(scene)


def _most_at_once(scene: Scene) -> int:
    """The most attempts that overlapped, by the store's own times."""
    times = scene.rows("SELECT started_at, ended_at FROM attempts")
    edges = sorted([(start, 1) for start, _ in times] + [(end, -1) for _, end in times])
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most


def test_named_batches_and_a_named_processor_leave_the_rest_alone(scene: Scene) -> None:
    first, second = scene.enqueue(2), scene.enqueue(3)
    other = scene.enqueue(1, processor="stubborn")
    assert scene.drain(second)["completed"] == 3
    assert scene.drain("--processor", "stubborn")["completed"] == 1
    assert [scene.show(batch)["batch"]["status"] for batch in (first, second, other)] == [
        "pending",
        "completed",
        "completed",
    ]


def test_two_runs_of_the_same_are_one(scene: Scene) -> None:
    scene.enqueue(3)
    assert scene.drain()["completed"] == 3
    assert scene.drain()["completed"] == 0
    assert len(scene.ran()) == 3


def test_progress_shows_while_an_item_runs(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "say": "::progress 45\nreading page 9\n", "hold": "go"}])
    worker = scene.worker()
    scene.holds(1)
    eventually(lambda: scene.item(f"{batch}/1")["progress"] == 45, "progress")
    item = scene.item(f"{batch}/1")
    assert item["state"] == "processing"
    assert item["worker"] == scene.value("SELECT id FROM workers")
    assert scene.show(batch)["batch"]["processing_items"] == 1
    eventually(lambda: "reading page 9" in scene.cli.ok("logs", f"{batch}/1"), "its words")
    assert "::progress" not in scene.cli.ok("logs", f"{batch}/1")
    scene.touch("go")
    finish(worker, 0)
    assert scene.item(f"{batch}/1")["progress"] is None


def test_logs_keep_what_each_attempt_wrote(scene: Scene) -> None:
    batch = scene.enqueue([{"id": 1, "say": "opening the file\n", "fail": 1}], processor="stubborn")
    scene.drain()
    found = scene.cli.json("logs", f"{batch}/1")["logs"]
    assert [one["text"].splitlines() for one in found] == [["opening the file", "1 is not ready"], ["opening the file"]]


@pytest.mark.parametrize("how", [["--no-wait"], ["--max-time", "0s"]])
def test_a_run_without_time_still_answers(scene: Scene, how: list[str]) -> None:
    scene.enqueue(2)
    answer = scene.drain(*how, code=0 if how == ["--no-wait"] else 3)
    assert answer["completed"] + answer["unfinished_items"] == 2
    audit(scene, finished=False)


def test_no_wait_leaves_retries_for_later(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("max_retries: 3", "max_retries: 3, backoff: {base: 1h, factor: 1, max: 1h}"))
    batch = scene.enqueue([{"id": 1, "fail": 1}, {"id": 2}], processor="stubborn")
    answer = scene.drain("--no-wait")
    assert (answer["completed"], answer["retried"], answer["unfinished_items"]) == (1, 1, 1)
    item = scene.item(f"{batch}/1")
    assert (item["state"], item["waiting_for"], item["attempts"]) == ("waiting", "retry", 1)
    assert item["next_attempt_at"] is not None


def test_enqueue_run_drains_what_it_enqueued_and_nothing_else(scene: Scene) -> None:
    other = scene.enqueue(1)
    answer = scene.cli.run("enqueue", "orders", "--id", "7", "-p", "deed", "--run", "--json")
    assert answer.returncode == 0, answer.stderr
    assert [start["key"] for start in scene.ran()] == ["7"]
    assert scene.show(other)["batch"]["status"] == "pending"


def test_inline_commands_print_each_output_whole(scene: Scene) -> None:
    script = "for i in 1 2 3; do printf 'line %s of {id}\\n' $i; done"
    done = scene.cli.run("enqueue", "orders", "--id", "a", "--id", "b", "--run", "-j", "2", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    blocks = ["".join(f"line {n} of {key}\n" for n in (1, 2, 3)) for key in "ab"]
    assert done.stdout in (blocks[0] + blocks[1], blocks[1] + blocks[0])
