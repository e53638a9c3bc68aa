"""Looking after a database on a server: its size, and a copy by `pg_dump`. Free space is the server's business."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from batchctl.engines import postgres_roles
from batchctl.engines.again import again
from batchctl.engines.postgres_connection import Connection
from batchctl.engines.postgres_errors import shown, translated
from batchctl.engines.postgres_server import server
from batchctl.engines.server import Server
from batchctl.errors import StoreError, UsageError


class PostgresUpkeep:
    """Of one database, over a connection that comes back by itself."""

    def __init__(self, url: str, connection: Callable[[], Connection]) -> None:
        self._url = url
        self._connection = connection

    @again
    def space(self) -> tuple[int | None, int | None]:
        """Bytes that the database takes; what is free on the server's disk can't be told from here."""
        with translated(self._url):
            row = self._connection().execute("SELECT pg_database_size(current_database())").fetchone()
        return (int(row[0]) if row else None), None

    def examine(self) -> list[str]:
        return []

    @again
    def about(self) -> str:
        with translated(self._url):
            row = self._connection().execute("SELECT current_setting('server_version')").fetchone()
        return f"PostgreSQL {row[0] if row else '?'}"

    @again
    def server(self) -> Server:
        with translated(self._url):
            return server(self._connection(), self._url)

    def shrink(self, seconds: float) -> bool:  # noqa: ARG002 - autovacuum does it
        return True

    def flush(self) -> None:
        """Nothing to do: the server's checkpoints do it."""

    def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:  # noqa: ARG002 - pg_dump tells nothing
        program = shutil.which("pg_dump")
        if program is None:
            raise UsageError(
                f"{shown(self._url)}: a copy of a PostgreSQL store is made by pg_dump, which is not installed here",
                hint="install PostgreSQL's client programs, or let the server's own backups cover this database",
            )
        where: dict[str, Any] = conninfo_to_dict(self._url)
        password = where.pop("password", None)
        environment = dict(os.environ) | (
            {"PGPASSWORD": str(password)} if password else {}
        )  # arguments are seen by all
        self._call([program, "--format=custom", f"--file={target}", "--dbname", make_conninfo(**where)], environment)
        self._call([str(Path(program).with_name("pg_restore")), "--list", str(target)], environment)

    @again
    def roles(self, prefix: str, rows: bool | None, tenants: Sequence[str]) -> str:
        with translated(self._url):
            return postgres_roles.roles(self._connection(), postgres_roles.Wanted(prefix, rows, tenants))

    def _call(self, command: list[str], environment: dict[str, str]) -> None:
        """Raises StoreError where the program says that it failed."""
        name = Path(command[0]).name
        try:
            done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603 - no shell
        except OSError as error:
            raise StoreError(f"{name} cannot be started: {error.strerror}", hint="install it beside pg_dump") from error
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit {done.returncode}"]
            raise StoreError(
                f"{shown(self._url)}: {name} failed",
                details=[line.replace(environment.get("PGPASSWORD") or "\0", "***") for line in lines[:5]],
                hint="pg_dump must not be older than the server",
            )
