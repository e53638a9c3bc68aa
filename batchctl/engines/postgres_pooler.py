"""Whether a pooler between us and the server gives our session to others, too."""

from __future__ import annotations

import os
import socket
import threading

import psycopg

from batchctl.engines.postgres_connection import CONNECT_SECONDS, Connection

_PID = b"SELECT pg_backend_pid()"
_WAIT = 5.0  # seconds that a pooler may let us wait for a second session


def shares_sessions(connection: Connection, url: str) -> bool:
    """True where the server's sessions change hands between our transactions, as with pgbouncer in transaction mode:
    locks of a session and LISTEN do not work then."""
    mine = _session(connection)
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as other:
            way = socket.socket(fileno=os.dup(other.fileno()))
            giving_up = threading.Timer(_WAIT, way.shutdown, [socket.SHUT_RDWR])
            giving_up.start()
            try:
                theirs = _session(other)  # in a transaction, so it keeps that session for now
                return theirs == mine or _session(connection) != mine
            finally:
                giving_up.cancel()
                giving_up.join()
                way.close()
    except psycopg.OperationalError:  # no second session: there is nobody to share with
        return False


def _session(connection: Connection) -> int | None:
    row = connection.execute(_PID).fetchone()
    return row[0] if row else None
