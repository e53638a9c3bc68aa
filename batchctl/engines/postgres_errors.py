"""What psycopg raises, as the errors that a user can meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import psycopg

from batchctl.errors import (
    BatchctlError,
    InvalidInput,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreInterrupted,
    StoreMissing,
    StoreReadOnly,
    UsageError,
)
from batchctl.urls import unquoted
from batchctl.urls import without_password as shown

__all__ = ["shown", "store_error", "translated", "unreachable"]

# The transaction is gone, and the same again may well succeed.
_AGAIN = {
    "40001": "it met another transaction",
    "40P01": "it and another transaction waited for each other",
    "55P03": "another transaction has held a lock for too long",
    "57014": "a statement took too long",
    "25P03": "the session was idle for too long",
    "57P01": "the server ended the session",
    "57P02": "the server crashed",
    "57P03": "the server is starting up or shutting down",
    "57P05": "the session was idle for too long",
    "53300": "it has too many connections",
    "53400": "it has reached a limit of its configuration",
}
_FULL = {"53100", "53200"}
_READ_ONLY = {"25006", "42501"}
_NO_TABLES = {"42P01", "3F000"}
_REFUSED = {"28000", "28P01"}
_NOT_OUR_SESSION = {"26000", "42P05"}  # a statement that we prepared is not there, or somebody else's is


@contextmanager
def translated(url: str, *, within: bool = False) -> Iterator[None]:
    """`within`: this is a part of a transaction that has begun further out."""
    try:
        yield
    except psycopg.Error as error:
        said = store_error(url, error)
        if isinstance(said, StoreInterrupted):
            said.within = within
        raise said from error
    except StoreInterrupted as error:
        error.within = within
        raise


def store_error(url: str, error: psycopg.Error) -> BatchctlError:
    """The error for a user; where the transaction may be tried again, a StoreInterrupted."""
    place, code = shown(url), error.sqlstate or ""
    said = _said(url, error)
    if code in _AGAIN or code.startswith("08"):
        return StoreInterrupted(f"{place}: {_AGAIN.get(code, 'the connection was lost')} ({said})", hint=_TRY_AGAIN)
    if code in _FULL:
        return StoreFull(f"{place}: no space left on the server ({said})", hint="free some space there, then try again")
    if code in _READ_ONLY:
        return StoreReadOnly(f"{place}: may not be written ({said})", hint="name the primary server, or another role")
    if code in _REFUSED:
        return StoreError(f"{place}: the server refuses the login ({said})", hint="check the user and the password")
    if code == "3D000":
        return StoreMissing(f"{place}: {said}", hint="create the database (`createdb`), or name another")
    if code in _NO_TABLES:
        return StoreCorrupt(
            f"{place}: not a batchctl store, or damaged ({said})", hint="run `batchctl init` to make one"
        )
    if code in _NOT_OUR_SESSION:
        return StoreError(f"{place}: another session than ours has answered ({said})", hint=_POOLER)
    if code == "22P05" or (isinstance(error, psycopg.DataError) and "NUL" in str(error)):
        return InvalidInput(f"{place}: PostgreSQL can't store a NUL character", hint="take it out of keys and names")
    if not code and isinstance(error, psycopg.OperationalError):
        return StoreInterrupted(f"{place}: the connection was lost ({said})", hint=_TRY_AGAIN)
    return StoreError(f"{place}: {said}")


_POOLER = "a pooler between here and the server must keep a session for each client: pgbouncer with pool_mode = session"
_TRY_AGAIN = "nothing was changed: run the command again"


def _said(url: str, error: psycopg.Error) -> str:
    """The server's or driver's first line, without the password."""
    text = error.diag.message_primary or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    password = urlsplit(url).password
    for form in {password, unquote(password)} if password else ():
        line = line.replace(form, "***")
    return line


def unreachable(url: str, error: psycopg.Error) -> BatchctlError:
    """The error for a user where no connection could be opened; a StoreInterrupted where it may work soon."""
    if unquoted(url) or isinstance(error, psycopg.ProgrammingError):
        return UsageError(
            f"{shown(url)}: the store's URL cannot be read",
            hint="a password with characters such as / @ : % # must be percent-encoded: "
            "postgresql://user:${NAME|url}@host/database in the config does that",
        )
    said = store_error(url, error)
    if not isinstance(said, StoreInterrupted):
        return said
    text = _said(url, error).removeprefix("connection failed: ").removeprefix("connection is bad: ")
    if "does not exist" in text and "database" in text:
        hint = "create the database (`createdb --encoding=UTF8 NAME`), then run `batchctl init` or enqueue something"
        return StoreError(f"{shown(url)}: there is no such database ({text})", hint=hint)
    if "does not exist" in text and "role" in text:
        return StoreError(
            f"{shown(url)}: there is no such user ({text})", hint="`batchctl store roles` prints how to make them"
        )
    if any(words in text for words in _FINAL):
        return StoreError(f"{shown(url)}: no connection can be made ({text})", hint=_HOW_TO_REACH)
    busy = any(words in text for words in _SOON)  # said after the password was found right
    if error.pgconn is not None and error.pgconn.used_password and not busy:
        what = "a password is needed" if error.pgconn.needs_password else "the server refuses user or password"
        return StoreError(f"{shown(url)}: {what} ({text})", hint=_PASSWORD)
    hint = "check that the server runs and can be reached from here"
    return StoreInterrupted(f"{shown(url)}: cannot be reached ({text})", hint=hint)


_FINAL = ("pg_hba.conf", "certificate", "SSL was required", "sslmode")
_SOON = (
    "too many",
    "connection slots",
    "terminating connection",
    "starting up",
    "shutting down",
    "closed the connection",
)
_HOW_TO_REACH = "look at the server's pg_hba.conf, and at sslmode and sslrootcert of the URL"
_PASSWORD = "set PGPASSWORD, write it into ~/.pgpass (mode 0600), or as ${NAME|url} into the config's `store:`"  # noqa: S105 - tells where it belongs
