"""Looking after a database on a server: its size. Space and copies are the server's business."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from batchctl.engines.postgres_connection import Connection
from batchctl.engines.postgres_errors import shown, translated
from batchctl.errors import StoreError


class PostgresUpkeep:
    """Of one database, over a connection that comes back by itself."""

    def __init__(self, url: str, connection: Callable[[], Connection]) -> None:
        self._url = url
        self._connection = connection

    def space(self) -> tuple[int | None, int | None]:
        """Bytes that the database takes; what is free on the server's disk can't be told from here."""
        with translated(self._url):
            row = self._connection().execute("SELECT pg_database_size(current_database())").fetchone()
        return (int(row[0]) if row else None), None

    def examine(self) -> list[str]:
        return []

    def about(self) -> str:
        with translated(self._url):
            row = self._connection().execute("SELECT current_setting('server_version')").fetchone()
        return f"PostgreSQL {row[0] if row else '?'}"

    def shrink(self, seconds: float) -> bool:  # noqa: ARG002 - autovacuum does it
        return True

    def flush(self) -> None:
        """Nothing to do: the server's checkpoints do it."""

    def backup(self, target: Path, progress: Callable[[int, int], None]) -> None:  # noqa: ARG002 - not ours to make
        raise StoreError(
            f"{shown(self._url)}: a store on a server is copied by the server's own tools",
            hint="use `pg_dump --format=custom`, or your server's backups",
        )
