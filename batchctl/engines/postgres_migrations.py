"""Bring a database to the newest version of the store; two programs at once do it one after the other."""

from __future__ import annotations

import psycopg

from batchctl.engines.postgres_connection import Connection
from batchctl.engines.postgres_errors import shown
from batchctl.engines.statements import migrations, overtaken
from batchctl.errors import StoreCorrupt, StoreMissing, StoreTooNew, StoreTooOld

_VERSIONS = """CREATE TABLE store_migrations (
    number          INTEGER PRIMARY KEY,
    name            TEXT NOT NULL,
    applied_at      TIMESTAMPTZ NOT NULL DEFAULT now()
)"""
_LOCK = "SELECT pg_advisory_xact_lock(1650553955, 0)"  # the first number is "batc"


_STORE_LOCK = "SELECT pg_advisory_xact_lock(1650553955, 1)"  # nobody writes meanwhile


def migrate(connection: Connection, url: str, *, create: bool, upgrade: bool) -> int | None:
    """Returns the version that was there before; None: there was no store.

    A store is made with `create` alone, and brought forward with `upgrade` alone: programs of other hosts may be older
    than we are. Raises StoreMissing where there is no store and `create` is False, StoreTooNew where it is newer than
    we are, StoreTooOld where it is older and `upgrade` is False, StoreCorrupt where the database belongs to something
    else.
    """
    known = migrations("postgres")
    newest = known[-1][0]
    have = _version(connection)
    if have is None and not create:
        raise StoreMissing(f"{shown(url)}: there is no store yet", hint="enqueue something, or run `batchctl init`")
    if have is not None and have > newest:
        raise StoreTooNew(
            f"{shown(url)}: made by a newer batchctl (store version {have}, this one knows {newest})",
            hint="upgrade batchctl on this machine",
        )
    if have == newest:
        return have
    if have is not None and not upgrade:
        raise StoreTooOld(
            f"{shown(url)}: made by an older batchctl (store version {have}, this one works with {newest})",
            hint="run `batchctl store upgrade` once, as the owner of its tables; older programs then stop",
        )
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        connection.execute(_LOCK)
        connection.execute(_STORE_LOCK)
        _apply(connection, url, known)
    return have


def check_version(connection: Connection, url: str) -> None:
    """Raises StoreTooNew where a newer program has brought the store forward since we opened it."""
    known, have = migrations("postgres")[-1][0], _version(connection)
    if have is not None and have > known:
        raise overtaken(shown(url), have, known)


def _version(connection: Connection) -> int | None:
    """The newest migration that was applied; None where there is no store."""
    row = connection.execute("SELECT to_regclass('store_migrations') IS NOT NULL").fetchone()
    if not (row and row[0]):
        return None
    row = connection.execute("SELECT coalesce(max(number), 0) FROM store_migrations").fetchone()
    return int(row[0]) if row else None


def _apply(connection: Connection, url: str, known: list[tuple[int, str, str]]) -> None:
    have = _version(connection)
    if have is None:
        try:
            connection.execute(_VERSIONS)
        except psycopg.errors.DuplicateTable as error:
            raise _foreign(url) from error
        have = 0
    for number, name, script in known:
        if number > have:
            try:
                connection.execute(script)
            except psycopg.errors.DuplicateTable as error:
                raise _foreign(url) from error
            connection.execute("INSERT INTO store_migrations (number, name) VALUES ($1, $2)", (number, name))


def _foreign(url: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{shown(url)}: holds tables of something else that have the names of ours",
        hint="name another database, or a schema of its own (`?options=-csearch_path%3Dbatchctl`)",
    )
