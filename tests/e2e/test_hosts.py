"""Several hosts on one PostgreSQL: one is cut off while it works, clocks differ, the database restarts."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence

import hosts
import pytest
from conftest import Cli
from databases import Database, at, postgres
from hosts import Host
from postgres_server import Server

from e2e.conftest import CONFIG, HERE
from e2e.kit import Scene, audit, eventually, finish

SHORT = CONFIG.replace("lease: 60s", "lease: 3s")


@pytest.fixture
def shared(cli: Cli) -> Iterator[Scene]:
    """A scene on the server that all tests share: its hosts are names."""
    with postgres(cli.folder) as database:
        yield from scene_on(cli, database)


def scene_on(cli: Cli, database: Database) -> Iterator[Scene]:
    cli.store = database.url
    (cli.folder / "deed.py").write_bytes((HERE / "deed.py").read_bytes())
    cli.config(CONFIG)
    scene = Scene(cli, database)
    yield scene
    scene.close()


@pytest.fixture
def restartable(cli: Cli) -> Iterator[tuple[Scene, Server]]:
    """A scene on a server of its own."""
    with hosts.own_server() as server:
        server.start()
        for scene in scene_on(cli, at(server.url(tcp=True))):
            yield scene, server


@pytest.fixture
def wired(cli: Cli) -> Iterator[tuple[Scene, list[Host]]]:
    """A scene whose workers run on hosts of a real network."""
    if reason := hosts.why_not():
        pytest.skip(reason)
    with hosts.network(["one", "two"]) as (url, there):
        for scene in scene_on(cli, at(url)):
            yield scene, there


def on(
    scene: Scene, host: str, *args: str, inside: Sequence[str] = (), command: str = "run", **env: str
) -> subprocess.Popen[str]:
    """A worker on a host of that name, with what this host keeps apart from the others'."""
    state = scene.folder / "state" / host
    state.mkdir(parents=True, exist_ok=True)
    started = scene.cli.start(
        command, "--json", *args, inside=inside, BATCHCTL_HOST_ID=host, XDG_STATE_HOME=str(state), **env
    )
    scene.started.append(started)
    return started


def shifted(scene: Scene, seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is wrong."""
    folder = scene.folder / f"clock{seconds}"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import time\n"
        f"time.time = lambda real=time.time: real() + {seconds}\n"
        f"time.time_ns = lambda real=time.time_ns: real() + {seconds} * 10**9\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_clocks_that_differ_do_not_matter(shared: Scene) -> None:
    """Retries come after their pause, nobody is taken for dead, and what is stored is the database's time."""
    shared.cli.config(SHORT.replace("base: 50ms", "base: 200ms"))
    shared.enqueue([{"id": n, "fail": 1} for n in range(8)], processor="stubborn")
    early = on(shared, "one", "-j", "2", **shifted(shared, -7200))
    late = on(shared, "two", "-j", "2", **shifted(shared, 7200))
    done = [json.loads(finish(worker, 0)[0]) for worker in (early, late)]
    assert sum(one["completed"] for one in done) == 8
    assert shared.rows("SELECT outcome, counted, count(*) FROM attempts GROUP BY 1, 2 ORDER BY 1") == [
        ("completed", 1, 8),
        ("retry", 1, 8),
    ]
    wrong = """SELECT count(*) FROM attempts
               WHERE abs(ended_at - extract(epoch FROM now()) * 1000) > 600000 OR started_at > ended_at"""
    assert shared.value(wrong) == 0
    assert shared.value("SELECT count(*) FROM events WHERE event = 'recovered'") == 0
    audit(shared)


def test_a_late_clock_does_not_end_a_lease(shared: Scene) -> None:
    shared.cli.config(SHORT)
    shared.enqueue([{"id": 1, "hold": "go"}])
    holder = on(shared, "one", **shifted(shared, -7200))
    shared.holds(1)
    other = on(shared, "two", **shifted(shared, 7200))
    eventually(lambda: shared.value("SELECT count(*) FROM workers") == 2, "both are there")
    first = shared.value("SELECT min(seen_at) FROM workers")
    eventually(lambda: shared.value("SELECT min(seen_at) FROM workers") > first + 3_000, "a lease has passed")
    assert len(shared.ran()) == 1
    shared.touch("go")
    assert json.loads(finish(holder, 0)[0])["completed"] == 1
    finish(other, 0)
    audit(shared)


def test_a_host_that_died_is_replaced_by_others_after_its_lease(shared: Scene) -> None:
    """Nothing of it can be seen from elsewhere: neither its lock nor its processes."""
    shared.cli.config(SHORT)
    shared.enqueue([{"id": 1, "hold": "go", "holds": 1}, {"id": 2}])
    lost = on(shared, "one", "-j", "1")
    shared.holds(1)
    # As if its power had gone, its commands with it.
    for pid in shared.processes():
        if pid != lost.pid:
            _kill(pid)
    lost.kill()
    lost.communicate()
    done = json.loads(finish(on(shared, "two"), 0)[0])
    assert done["completed"] == 2
    assert {row[0] for row in shared.rows("SELECT outcome FROM attempts WHERE item_id = 1")} == {"completed"}
    assert shared.item(1)["attempts"] == 1
    audit(shared)


def _kill(pid: int) -> None:
    subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)


def test_checks_of_two_hosts_at_the_same_second(shared: Scene) -> None:
    """No lock of one host is seen by the other, and yet each item is done once."""
    shared.enqueue(30)
    checks = [on(shared, host, command="check") for host in ("one", "two", "one", "two")]
    answers = [json.loads(finish(one, 0)[0]) for one in checks]
    drained = sum(answer["drained"]["completed"] for answer in answers if not answer["skipped"])
    assert drained == len(shared.ran()) == 30
    assert [answer["errors"] for answer in answers] == [[]] * 4
    audit(shared)


def test_the_database_restarts_while_hosts_drain(restartable: tuple[Scene, Server]) -> None:
    scene, server = restartable
    scene.enqueue([{"id": n, "sleep": 0.01} for n in range(150)])
    workers = [on(scene, name, "-j", "2") for name in ("one", "two", "three")]
    for how in (signal.SIGINT, signal.SIGQUIT):
        done = len(scene.lines("done"))
        eventually(lambda least=done: len(scene.lines("done")) > least + 5, "they are at it")  # type: ignore[misc]
        server.stop(how)
        server.start()
    for worker in workers:
        finish(worker, 0)
    assert scene.states() == {"completed": 150}
    assert len(scene.ran()) == 150
    audit(scene)


def wired_worker(scene: Scene, host: Host, *args: str) -> subprocess.Popen[str]:
    return on(scene, host.name, *args, BATCHCTL_STORE=host.url, inside=host.inside)


def test_a_host_that_is_cut_off_while_it_works(wired: tuple[Scene, list[Host]]) -> None:
    """It ends its own work in time, the other host takes it over, and what it says later changes nothing; when the
    network is back, so is it."""
    scene, (one, two) = wired
    scene.cli.config(SHORT)
    scene.enqueue([{"id": 1, "hold": "go", "holds": 1, "child": True}])
    lost = wired_worker(scene, one, "--forever")
    scene.holds(1)
    scene.database.change("UPDATE items SET progress = 1 WHERE id = 1")  # the network works
    first = {pid for pid, words in scene.processes().items() if "deed.py" in words or "time.sleep(600)" in words}
    assert len(first) == 2
    one.cut_off()
    other = wired_worker(scene, two)
    eventually(lambda: not first & set(scene.processes()), "it has ended its commands")
    assert scene.value("SELECT worker_id FROM items") == scene.value(
        "SELECT id FROM workers WHERE host = 'one'"
    )  # before anybody took them over
    assert json.loads(finish(other, 0)[0])["completed"] == 1
    assert lost.poll() is None
    ends = "SELECT outcome, counted FROM attempts WHERE item_id = 1"
    assert scene.rows(ends) == [("completed", 1)]
    one.back()
    scene.enqueue([{"id": 2}])
    eventually(lambda: scene.states() == {"completed": 2}, "it works again")
    assert scene.rows(ends) == [("completed", 1)]
    assert {start["attempt"] for start in scene.ran()} == {"1"}
    lost.send_signal(signal.SIGTERM)
    finish(lost, 143)
    audit(scene)


def put_files(scene: Scene, host: str, *names: str) -> str:
    """Enqueued on that host; each file's item notes its path."""
    for name in names:
        path = scene.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    args = ("enqueue", "files", *names, "-p", "note", "--print-id")
    return scene.cli.ok(*args, BATCHCTL_HOST_ID=host).strip()


def rooted(scene: Scene, *roots: str) -> None:
    (scene.folder / "work.py").write_text("def note(item, context):\n    return open(item.file.path).read()\n")
    text = CONFIG.replace("min_free: 0", f"min_free: 0, roots: {json.dumps(roots)}")
    scene.cli.config(f'{text}  note: {{python: "work:note"}}\n')


def test_files_are_done_where_they_are(shared: Scene) -> None:
    rooted(shared, "a")
    mixed = put_files(shared, "two", "a/1", "b/1", "a/2", "b/2")
    apart = put_files(shared, "two", "b/3")
    done = json.loads(finish(on(shared, "one"), 3)[0])
    assert (done["completed"], done["unfinished_items"]) == (2, 3)
    assert json.loads(finish(on(shared, "one", "--no-wait"), 0)[0])["completed"] == 0
    service = on(shared, "one", "--forever")
    eventually(lambda: shared.value("SELECT count(*) FROM workers"), "it is there")
    assert shared.cli.json("workers")["workers"][0]["roots"] == [str(shared.folder / "a")]
    told = shared.cli.json("why", apart)["reasons"]
    nobody = f"No living worker has {shared.folder}/b under its `worker: roots`; its files were enqueued on host two."
    assert nobody in told
    assert "each worker takes those that its host has" in " ".join(shared.cli.json("why", mixed)["reasons"])
    service.send_signal(signal.SIGTERM)
    finish(service, 143)
    rooted(shared, "b")
    assert json.loads(finish(on(shared, "two"), 0)[0])["completed"] == 3
    assert shared.rows("SELECT DISTINCT outcome, counted FROM attempts") == [("completed", 1)]
    assert shared.value("SELECT count(*) FROM attempts") == 5
    audit(shared)


def test_without_roots_who_enqueued_a_file_knows_whether_it_is_gone(shared: Scene) -> None:
    rooted(shared)
    batch = put_files(shared, "one", "a/1", "a/2")
    (shared.folder / "a/1").unlink()
    done = json.loads(finish(on(shared, "two"), 3)[0])
    assert (done["completed"], done["failed"]) == (1, 0)
    assert shared.item(f"{batch}/a/1")["attempts"] == 0
    finish(on(shared, "one"), 1)
    assert shared.item(f"{batch}/a/1")["error"]["type"] == "FileMissing"
    audit(shared)
