"""What `check` tells its monitor: each check, each failure, and without a store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import Answer, HttpServer, free_port

from e2e.checkkit import configure
from e2e.conftest import CONFIG
from e2e.kit import Scene


@pytest.fixture
def monitor() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def pings(server: HttpServer) -> list[str]:
    return [request.path for request in server.requests]


def test_the_monitor_hears_of_each_check(scene: Scene, monitor: HttpServer) -> None:
    configure(scene, ping=f"{monitor.url}/uuid/")
    scene.enqueue(1)
    scene.cli.ok("check")
    scene.cli.ok("check")
    assert pings(monitor) == ["/uuid/start", "/uuid/", "/uuid/start", "/uuid/"]
    assert monitor.requests[1].body == b"Processed 1 batch, 1 newly completed"


def test_the_monitor_hears_exit_codes_where_it_wants_them(scene: Scene, monitor: HttpServer) -> None:
    configure(scene, ping={"url": f"{monitor.url}/u?x=1", "start": False, "exit_status": True})
    scene.cli.ok("check")
    assert [request.target for request in monitor.requests] == ["/u/0?x=1"]


def test_a_monitor_that_fails_only_warns(scene: Scene, monitor: HttpServer) -> None:
    scene.enqueue(1)
    hidden = "uuid-that-nobody-may-see"
    for url in (f"http://127.0.0.1:{free_port()}/{hidden}", f"{monitor.url}/{hidden}"):
        monitor.default = Answer(500)
        configure(scene, ping=url)
        done = scene.cli.run("check")
        assert done.returncode == 0
        assert "warning: check.ping: 127.0.0.1" in done.stderr
        assert hidden not in done.stderr
    assert scene.states() == {"completed": 1}


def test_a_monitor_that_does_not_answer_delays_it_for_a_moment_only(scene: Scene, monitor: HttpServer) -> None:
    monitor.default = Answer(hold=True)
    configure(scene, ping={"url": monitor.url, "timeout": "200ms"})
    scene.enqueue(1)
    done = scene.cli.run("check")
    assert (done.returncode, done.stderr.count("takes too long")) == (0, 1)
    assert scene.states() == {"completed": 1}


def test_an_unusable_store_is_told_to_the_monitor_without_the_store(file_scene: Scene, monitor: HttpServer) -> None:
    configure(file_scene, ping=f"{monitor.url}/u")
    file_scene.store.write_bytes(b"this is no database" * 100)
    done = file_scene.cli.run("check")
    assert done.returncode == 5
    assert "restore a backup" in done.stderr
    assert pings(monitor) == ["/u/fail"]
    assert b"not a batchctl store" in monitor.requests[0].body


def test_a_config_that_is_refused_is_told_to_the_monitor(file_scene: Scene, monitor: HttpServer) -> None:
    for ping in (f"{monitor.url}/uuid", {"url": f"{monitor.url}/code", "exit_status": True}):
        configure(file_scene, ping=ping, time_budget="soon")
        assert "check.time_budget" in file_scene.cli.run("check").stderr
    assert pings(monitor) == ["/uuid/fail", "/code/2"]
    assert monitor.requests[0].body == b"the config has a problem"
    configure(file_scene, ping="nowhere")
    assert file_scene.cli.run("check").returncode == 2


def test_a_disk_with_too_little_space_claims_nothing_and_tells(scene: Scene, monitor: HttpServer) -> None:
    scene.enqueue(1)
    scene.cli.config(f"{CONFIG.replace('min_free: 0', 'min_free: 900000GB')}check: {{ping: '{monitor.url}/u'}}\n")
    done = scene.cli.run("check")
    assert done.returncode == 5
    assert "worker.min_free" in done.stderr
    assert "free some space" in done.stderr
    assert pings(monitor) == ["/u/start", "/u/fail"]
    assert (scene.states(), scene.ran()) == ({"pending": 1}, [])
    (alert,) = scene.cli.json("check", code=5)["alerts"]
    assert alert["name"] == "low_disk"
    scene.cli.config(CONFIG)
    assert scene.cli.json("check")["drained"]["completed"] == 1
    assert scene.cli.json("check")["alerts"] == []


def test_a_store_that_is_gone_is_not_passed_over_in_silence(file_scene: Scene, monitor: HttpServer) -> None:
    configure(file_scene, ping=f"{monitor.url}/u")
    file_scene.enqueue(1)
    assert file_scene.cli.run("check").returncode == 0
    for path in file_scene.store.parent.glob(f"{file_scene.store.name}*"):
        if path.is_file():
            path.unlink()
    done = file_scene.cli.run("check")
    assert done.returncode == 5
    assert f"the store {file_scene.store} is gone" in done.stderr
    assert pings(monitor) == ["/u/start", "/u", "/u/fail"]
    assert not file_scene.store.exists()


def test_without_a_store_there_is_nothing_to_do(scene: Scene, monitor: HttpServer) -> None:
    configure(scene, ping=f"{monitor.url}/u")
    done = scene.cli.run("--store", "elsewhere.db", "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (scene.folder / "elsewhere.db").exists()
    assert pings(monitor) == ["/u/start", "/u"]
