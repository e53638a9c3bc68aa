"""What psycopg raises, as the errors that a user can meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

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
)

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


def shown(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    if not parts.netloc:
        return f"{parts.scheme}:…"
    user, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + place, query="", fragment=""))


@contextmanager
def translated(url: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise store_error(url, error) from error


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
    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        return InvalidInput(f"{place}: PostgreSQL can't store a NUL character", hint="take it out of keys and names")
    if not code and isinstance(error, psycopg.OperationalError):
        return StoreInterrupted(f"{place}: the connection was lost ({said})", hint=_TRY_AGAIN)
    return StoreError(f"{place}: {said}")


_TRY_AGAIN = "nothing was changed: run the command again"


def _said(url: str, error: psycopg.Error) -> str:
    """The server's or driver's first line, without the password."""
    text = error.diag.message_primary or str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    password = urlsplit(url).password
    return line.replace(password, "***") if password else line
