"""A scene: a folder, a config, the real program, and eyes on the store and on the processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from conftest import Cli
from databases import Database

PATIENCE = 60.0
DIES = Path(__file__).parent / "dies.py"
FINAL = {"completed", "failed", "cancelled"}
T = TypeVar("T")
Order = Mapping[str, Any]


def eventually(fact: Callable[[], T], what: str = "it") -> T:
    """Polls until the fact is true, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := fact()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.01)
    return found


@dataclass
class Scene:
    """One user's folder. `worker` starts the program and remembers it, so that nothing is left behind."""

    cli: Cli
    database: Database
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    _files: int = 0

    @property
    def folder(self) -> Path:
        return self.cli.folder

    @property
    def store(self) -> Path:
        """The store's file. Only where it is one."""
        assert self.database.path is not None
        return self.database.path

    @property
    def private(self) -> Path:
        """What the store keeps on this host."""
        if self.database.path is not None:
            return self.store.with_name(self.store.name + ".run")
        (found,) = (self.folder / "home/.local/state/batchctl").glob("*.run")
        return found

    # -- the program

    def enqueue(self, orders: int | Sequence[Order], *options: str, processor: str = "deed") -> str:
        """Orders (a number makes that many, ids from 1) into the queue; the batch's id."""
        listed: Sequence[Order] = [{"id": n} for n in range(1, orders + 1)] if isinstance(orders, int) else orders
        self._files += 1
        path = self.folder / f"orders-{self._files}.jsonl"
        path.write_text("".join(json.dumps(order) + "\n" for order in listed), encoding="utf-8")
        return self.cli.ok("enqueue", "orders", path.name, "-p", processor, "--print-id", "--again", *options).strip()

    def drain(self, *args: str, code: int = 0, **env: str) -> Any:
        """`run` to its end; its JSON."""
        return self.cli.json("run", *args, code=code, **env)

    def worker(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """`run` in the background."""
        process = self.cli.start("run", "--json", *args, **env)
        self.started.append(process)
        return process

    def show(self, batch: str) -> Any:
        return self.cli.json("show", batch)

    def item(self, what: str | int) -> Any:
        return self.cli.json("show", str(what))["item"]

    # -- what items wrote down (see deed.py)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def ran(self) -> list[dict[str, Any]]:
        """Every start of an item's process, in order."""
        return [json.loads(line) for line in self.lines("ran")]

    def touch(self, name: str) -> None:
        (self.folder / name).touch()

    def holds(self, count: int) -> None:
        """Wait until so many items have come to their `hold`."""
        eventually(lambda: len(self.lines("held")) >= count or self._idle(), f"{count} items hold")
        assert len(self.lines("held")) >= count, [finish(process) for process in self.started]

    def _idle(self) -> bool:
        return all(process.poll() is not None for process in self.started)

    def wait_for(self, event: str) -> None:
        """Until the audit trail has it."""
        eventually(lambda: self.value("SELECT count(*) FROM events WHERE event = ?", event), event)

    # -- eyes

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Read the store as a person would with a database shell."""
        return self.database.query(sql, *params)

    def value(self, sql: str, *params: Any) -> Any:
        found = self.rows(sql, *params)
        return found[0][0] if found else None

    def change(self, sql: str, *params: Any) -> None:
        """Tamper with the store."""
        self.database.change(sql, *params)

    def states(self) -> dict[str, int]:
        """How many items are in each state, as stored."""
        return dict(self.rows("SELECT state, count(*) FROM items GROUP BY state"))

    def stored(self) -> dict[str, bytes]:
        """The bytes of the store and of all that lies beside it."""
        files = [path for path in (*self.folder.glob("q.db*"), *self.private.rglob("*")) if path.is_file()]
        found = {path.name: path.read_bytes() for path in files}
        if self.database.path is None:
            for (table,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
                found[table] = repr(self.rows(f"SELECT * FROM {table}")).encode()  # noqa: S608 - our tables' names
        return found

    def processes(self) -> dict[int, str]:
        """Living processes that work in this folder: pid and command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    here = (entry / "cwd").readlink()
                    if (here == self.folder or self.folder in here.parents) and _state(entry) not in "ZX":
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def alone(self) -> None:
        """Nothing that was started here runs any more."""
        eventually(lambda: not self.processes(), "every process is gone")

    @contextmanager
    def still(self, pid: int) -> Iterator[None]:
        """Ctrl-Z for as long as it lasts."""
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: _state(Path("/proc") / str(pid)) == "T", "it is stopped")
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End what a failed test left running."""
        for pid in self.processes():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.kill()
            process.communicate()


def _state(entry: Path) -> str:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0]


def finish(process: subprocess.Popen[str], code: int | None = None) -> tuple[str, str]:
    """Wait for its end; (standard output, standard error)."""
    out, err = process.communicate(timeout=PATIENCE)
    assert code is None or process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
    return out, err


def kill9(process: subprocess.Popen[str]) -> None:
    """The power button of a process."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


def die(scene: Scene, point: str, moment: str, number: int, *command: str) -> None:
    """Run the command until it kills itself at the point (see dies.py); it must not come past it."""
    done = subprocess.run(
        [sys.executable, DIES, f"{point}:{moment}:{number}", *command],
        cwd=scene.folder,
        env=scene.cli.environment(PYTHONPATH=str(Path(__file__).parents[2])),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A local server; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(scene: Scene, *, finished: bool = True) -> None:
    """Every promise that a look at the store, the folder and the processes can check. `finished`: all work has ended.

    Holds for stores whose batches were never retried by command.
    """
    assert scene.lines("collisions") == []
    if scene.database.engine == "sqlite":
        assert scene.rows("PRAGMA integrity_check") == [("ok",)]
    _audit_items(scene)
    _audit_batches(scene)
    if finished:
        assert set(scene.states()) <= FINAL
        assert scene.rows("SELECT id FROM workers") == []
        assert scene.rows("SELECT no FROM batches WHERE status IN ('loading', 'deleting')") == []
        assert scene.rows("SELECT batch_no FROM ready_groups") == []
        scene.alone()


def _audit_items(scene: Scene) -> None:
    tries: dict[int, list[tuple[str, int]]] = {}
    for number, outcome, counted in scene.rows("SELECT item_id, outcome, counted FROM attempts ORDER BY claim_no"):
        tries.setdefault(number, []).append((outcome, counted))
    results = {number for (number,) in scene.rows("SELECT item_id FROM item_results")}
    facts = scene.rows("SELECT id, state, attempts_used, claim_no, worker_id FROM items")
    for number, state, used, claims, worker in facts:
        mine = tries.get(number, [])
        ends = [outcome for outcome, _ in mine]
        about = f"item {number} is {state} after {mine}"
        assert ends.count("completed") == (state == "completed"), about
        assert state != "completed" or ends[-1] == "completed", about
        assert used == sum(counted for _, counted in mine), about
        assert len(mine) <= claims, about
        assert (number in results) == (state in ("completed", "failed")), about
        assert (worker is not None) == (state == "processing"), about
    keys = Counter(key for (key,) in scene.rows("SELECT idempotency_key FROM item_data"))
    assert set(keys.values()) <= {1}
    by_item: dict[int, set[str]] = {}
    for start in scene.ran():
        by_item.setdefault(start["item"], set()).add(start["idempotency_key"])
    assert all(len(used_keys) == 1 for used_keys in by_item.values()), "an item changed its idempotency key"


def _audit_batches(scene: Scene) -> None:
    counted = """
        SELECT b.no, b.total_items, b.completed_items, b.failed_items, b.cancelled_items, b.status, count(i.id),
               count(CASE i.state WHEN 'completed' THEN 1 END), count(CASE i.state WHEN 'failed' THEN 1 END),
               count(CASE i.state WHEN 'cancelled' THEN 1 END)
        FROM batches b LEFT JOIN items i ON i.batch_no = b.no WHERE b.status <> 'loading' GROUP BY b.no"""
    for _, total, completed, failed, cancelled, status, *found in scene.rows(counted):
        assert [total, completed, failed, cancelled] == found
        assert (completed + failed + cancelled == total) == (status not in ("pending", "processing"))
