"""Questions to a PostgreSQL server about itself."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from batchctl.engines.postgres_connection import Connection
from batchctl.engines.postgres_pooler import shares_sessions
from batchctl.engines.server import Server

_SETTINGS = """
SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on', current_setting('fsync') = 'on',
       current_setting('synchronous_commit') <> 'off', pg_is_in_recovery(),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       (SELECT count(*) FROM pg_stat_replication)
"""
_SESSIONS = """
SELECT count(*) FILTER (WHERE backend_type = 'client backend' OR backend_type IS NULL),
       count(*) FILTER (WHERE application_name LIKE 'batchctl %'),
       coalesce(extract(epoch FROM max(now() - xact_start) FILTER (
           WHERE pid <> pg_backend_pid() AND backend_type = 'client backend')), 0)::float8
FROM pg_stat_activity
"""
_OURS = "c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace AND c.relname NOT LIKE 'store\\_%'"
_LACKS = f"""
SELECT p.what || ' on ' || c.relname FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (what)
WHERE {_OURS} AND NOT has_table_privilege(c.oid, p.what)
UNION ALL SELECT 'UPDATE on items_id_seq' WHERE NOT has_sequence_privilege('items_id_seq', 'UPDATE')
ORDER BY 1
"""  # noqa: S608 - no parameter
_UNGUARDED = f"""
SELECT c.relname FROM pg_class c WHERE {_OURS} AND NOT c.relrowsecurity
AND EXISTS (SELECT 1 FROM pg_class i WHERE i.oid = 'items'::regclass AND i.relrowsecurity) ORDER BY 1
"""  # noqa: S608 - no parameter
_DEAD = """
SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND n_dead_tup > 50000 AND n_dead_tup > n_live_tup * 0.5 ORDER BY n_dead_tup DESC
"""
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


def server(connection: Connection, url: str) -> Server:
    """What there is to know; needs no privilege but that to log in."""
    autovacuum, fsync, synchronous, standby, most, superuser, standbys = _row(connection, _SETTINGS)
    connections, ours, oldest = _row(connection, _SESSIONS)
    begun = time.time()
    (clock,) = _row(connection, _CLOCK)
    middle = (begun + time.time()) / 2
    return Server(
        version=connection.info.server_version,
        superuser=bool(superuser),
        lacks=[what for (what,) in connection.execute(_LACKS)],
        unguarded=[name for (name,) in connection.execute(_UNGUARDED)],
        connections=connections,
        most=most,
        ours=ours,
        autovacuum=autovacuum,
        dead={name: (dead, living) for name, dead, living in connection.execute(_DEAD)},
        oldest=oldest,
        standby=standby,
        standbys=standbys,
        fsync=fsync,
        synchronous=synchronous,
        remote=_remote(connection),
        tls=bool(connection.pgconn.ssl_in_use),
        checked=str(conninfo_to_dict(url).get("sslmode", "")) in ("verify-ca", "verify-full"),
        shared=shares_sessions(connection, url),
        offset=clock - middle,
    )


def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def _remote(connection: Connection) -> bool:
    """Whether the way leads over a network."""
    address = connection.info.hostaddr
    return bool(address) and not ip_address(address.partition("%")[0]).is_loopback
