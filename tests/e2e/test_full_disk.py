"""A full disk: exit code 5 with the next step, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import sqlite

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit, eventually, finish

MEGABYTE = 1 << 20


@pytest.fixture
def small(file_scene: Scene) -> Iterator[Scene]:
    """The store lies on a disk of its own, of 3 MB."""
    scene = file_scene
    disk = scene.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    scene.cli.env["BATCHCTL_STORE"] = "disk/q.db"
    with sqlite(disk, "q.db") as scene.database:
        yield scene
    scene.close()
    subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(scene: Scene) -> Path:
    """Until not a byte is left."""
    path = scene.folder / "disk" / "ballast"
    with path.open("wb", buffering=0) as ballast:
        for size in (MEGABYTE, 4096, 1):
            try:
                while ballast.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return path


def test_an_enqueue_that_does_not_fit_leaves_nothing(small: Scene) -> None:
    small.enqueue(1)
    lines = (f'{{"id": {n}, "text": "{"x" * 200}"}}\n' for n in range(30_000))
    (small.folder / "many.jsonl").write_text("".join(lines))
    problem = small.cli.json("enqueue", "orders", "many.jsonl", "-p", "deed", code=5)["error"]
    assert problem["type"] == "StoreFull"
    assert small.cli.json("list")["total"] == 1
    subprocess.run(["mount", "-o", "remount,size=30m", str(small.store.parent)], check=True)
    assert small.drain()["completed"] == 1
    audit(small)


def test_commands_say_what_to_do(small: Scene) -> None:
    small.enqueue(3)
    ballast = _fill(small)
    for args in (("run",), ("enqueue", "orders", "--id", "9", "-p", "deed"), ("pause", "latest")):
        done = small.cli.run(*args)
        assert done.returncode == 5, (args, done.stderr)
        assert "space" in done.stderr
        assert "hint: " in done.stderr
        assert "Traceback" not in done.stderr
    assert small.ran() == []
    ballast.unlink()
    assert small.states() == {"pending": 3}
    assert small.drain()["completed"] == 3
    audit(small)


@pytest.mark.parametrize("left", [70_000, 140_000, 200_000])
def test_a_disk_with_room_for_a_part_is_no_better(small: Scene, left: int) -> None:
    """What a worker keeps beside the store needs room too; it never meets its end in the middle of an item."""
    small.enqueue(2)
    ballast = _fill(small)
    os.truncate(ballast, ballast.stat().st_size - left)
    done = small.cli.run("run")
    assert done.returncode in (0, 5), done.stderr
    assert done.returncode == 0 or "hint: free some space" in done.stderr
    assert "Traceback" not in done.stderr
    ballast.unlink()
    small.drain()
    assert small.states() == {"completed": 2}
    audit(small)


def test_what_ends_while_the_disk_is_full_is_kept_until_there_is_room(small: Scene) -> None:
    small.enqueue([{"id": 1, "hold": "go"}, {"id": 2, "hold": "go"}, {"id": 3}])
    worker = small.worker("-j", "2")
    small.holds(2)
    ballast = _fill(small)
    small.touch("go")
    eventually(lambda: len(small.lines("done")) == 2, "both have ended")
    assert worker.poll() is None
    ballast.unlink()
    finish(worker, 0)
    assert small.states() == {"completed": 3}
    assert len(small.ran()) == 3
    audit(small)


def test_a_worker_that_gives_up_loses_nothing(small: Scene) -> None:
    small.enqueue([{"id": 1, "hold": "go"}, {"id": 2}])
    worker = small.worker("-j", "1", "--grace", "0s")
    small.holds(1)
    ballast = _fill(small)
    small.touch("go")
    eventually(lambda: small.lines("done"), "it has ended")
    worker.send_signal(signal.SIGINT)
    worker.send_signal(signal.SIGTERM)  # the second signal: it does not try any longer
    finish(worker, 5)
    ballast.unlink()
    small.drain()
    assert small.states() == {"completed": 2}
    audit(small)


def test_cleanup_works_on_a_full_disk_and_makes_room(small: Scene) -> None:
    """It begins in the space that was kept for it, and keeps it again afterwards."""
    small.enqueue([{"id": n, "text": "x" * 40_000} for n in range(10)])
    small.drain()
    small.enqueue(2)
    reserve = small.store.with_name("q.db.run") / "reserve"
    small.cli.ok("cleanup", "--older-than", "1d")
    assert reserve.exists()
    _fill(small)
    assert small.cli.run("pause", "latest").returncode == 5
    answer = small.cli.json("cleanup", "--older-than", "0s")
    assert (answer["deleted_batches"], answer["deleted_items"]) == (1, 10)
    assert answer["freed_bytes"] > 300_000
    small.cli.ok("cleanup", "--older-than", "1d")
    assert reserve.exists()
    assert small.drain()["completed"] == 2
    audit(small)


def test_a_disk_that_fills_up_in_mid_check(small: Scene) -> None:
    """What has run is recorded as soon as there is room; a check that finds a full disk says so and does no harm."""
    config = small.folder / "batchctl.yaml"
    config.write_text(config.read_text() + "check: {retention: {completed: 1ms}}\n")
    small.enqueue([{"id": 1, "hold": "go"}, {"id": 2}])
    check = small.cli.start("check")
    small.started.append(check)
    small.holds(1)
    ballast = _fill(small)
    small.touch("go")
    eventually(lambda: small.lines("done"), "it has ended")
    ballast.unlink()
    assert finish(check, 0) == ("", "")
    assert len(small.ran()) == 2
    small.enqueue(1)
    ballast = _fill(small)
    done = small.cli.run("check")
    assert done.returncode in (1, 5)
    assert "space" in done.stderr
    assert "Traceback" not in done.stderr
    ballast.unlink()
    assert small.cli.run("check").returncode == 0
    assert set(small.states()) <= {"completed"}
    audit(small)


def test_a_limit_on_file_sizes_is_a_full_disk_too(file_scene: Scene) -> None:
    file_scene.enqueue(1)
    (file_scene.folder / "many.jsonl").write_text("".join(f'{{"id": {n}}}\n' for n in range(20_000)))
    enqueue = [sys.executable, "-m", "batchctl", "enqueue", "orders", "many.jsonl", "-p", "deed"]
    limited = ["sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh", *enqueue]
    done = subprocess.run(
        limited, cwd=file_scene.folder, env=file_scene.cli.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert "hint: " in done.stderr
    assert file_scene.cli.json("list")["total"] == 1
    assert file_scene.drain()["completed"] == 1
    audit(file_scene)


def test_nothing_is_started_while_the_disk_has_too_little(scene: Scene) -> None:
    scene.cli.config(CONFIG.replace("min_free: 0", "min_free: 1000000GB"))
    assert scene.drain()["completed"] == 0
    scene.enqueue(1)
    problem = scene.drain(code=5)["error"]
    assert problem["type"] == "StoreFull"
    assert "min_free" in scene.cli.run("run").stderr
    assert scene.ran() == []
    scene.cli.config(CONFIG)
    assert scene.drain()["completed"] == 1
    assert scene.drain(code=0)["completed"] == 0
    audit(scene)
