"""A store on a server: version, privileges, connections, cleaning up, replication, encryption, clock."""

from __future__ import annotations

from collections.abc import Iterator

from batchctl.doctor.base import Finding, Patient, check
from batchctl.engines.server import Server

_OLDEST = 140_000
_LONG = 3_600.0  # seconds that a transaction may be open
_CROWDED = 0.8  # of the connections that there may be
_APART = 5.0  # seconds between two clocks
_SHOWN = 3


@check
def _server(patient: Patient) -> Iterator[Finding]:
    if patient.store is None or (server := patient.store.engine.upkeep().server()) is None:
        return
    yield from judge(server)


def judge(server: Server) -> Iterator[Finding]:
    """What is to be said of it."""
    for one in (_version, _privileges, _connections, _pooler, _vacuum, _replication, _encryption, _clock):
        yield from one(server)


def _version(server: Server) -> Iterator[Finding]:
    shown = f"PostgreSQL {server.version // 10_000}"
    if server.version < _OLDEST:
        yield Finding("server", "problem", f"{shown} is too old: 14 or later is needed", "upgrade the server")
    if not server.fsync:
        mend = "set fsync = on in postgresql.conf and restart the server"
        yield Finding("server", "problem", "fsync is off: a power failure can destroy the whole store", mend)
    if not server.synchronous:
        mend = "ALTER DATABASE … SET synchronous_commit = on, or for the role"
        yield Finding("server", "warning", "synchronous_commit is off: a crash can lose the newest results", mend)


def _privileges(server: Server) -> Iterator[Finding]:
    if server.lacks:
        more = f" and {len(server.lacks) - _SHOWN} more" if len(server.lacks) > _SHOWN else ""
        text = f"this login lacks {', '.join(server.lacks[:_SHOWN])}{more}"
        yield Finding("privileges", "problem", text, "batchctl store roles | psql …, then log in as the worker")
    if server.unguarded:
        text = f"no row level security on {', '.join(server.unguarded)}, but on other tables"
        yield Finding("privileges", "problem", text, "batchctl store roles --rls | psql …")
    if server.superuser:
        mend = "batchctl store roles | psql …, then log in as the worker"
        yield Finding("privileges", "warning", "this login is a superuser: far more than the work needs", mend)
    if not server.lacks and not server.unguarded and not server.superuser:
        yield Finding("privileges", "ok", "this login may do what the work needs")


def _connections(server: Server) -> Iterator[Finding]:
    text = f"{server.connections} of {server.most} are in use, {server.ours} of them by batchctl"
    if server.connections > server.most * _CROWDED:
        mend = "raise max_connections, or run fewer workers: each takes two"
        yield Finding("connections", "warning", text, mend)
    else:
        yield Finding("connections", "ok", text)


def _pooler(server: Server) -> Iterator[Finding]:
    if server.shared:
        text = "a pooler gives our session to others: locks that tell who lives are lost, and nobody is woken"
        mend = "pool_mode = session in pgbouncer.ini, for this database at least; or name the server itself in the URL"
        yield Finding("pooler", "problem", text, mend)


def _vacuum(server: Server) -> Iterator[Finding]:
    if not server.autovacuum:
        mend = "set autovacuum = on and track_counts = on in postgresql.conf, then reload the server"
        yield Finding("autovacuum", "problem", "is off: the tables grow and claims become slow", mend)
    for name, (dead, living) in server.dead.items():
        text = f"{name} has {dead:,} dead rows beside {living:,} living ones"
        yield Finding("autovacuum", "warning", text, f"VACUUM (ANALYZE) {name}")
    if server.oldest > _LONG:
        text = f"a transaction has been open for {server.oldest / 3600:.1f} h: no dead row since can be cleared away"
        mend = "SELECT pid, application_name, xact_start FROM pg_stat_activity ORDER BY xact_start; then end it"
        yield Finding("autovacuum", "warning", text, mend)
    if server.autovacuum and not server.dead and server.oldest <= _LONG:
        yield Finding("autovacuum", "ok", "is on and keeps up")


def _replication(server: Server) -> Iterator[Finding]:
    if server.standby:
        text = "this is a standby, which takes no changes"
        yield Finding("replication", "problem", text, "name the primary, or add ?target_session_attrs=read-write")
    elif server.standbys:
        yield Finding("replication", "ok", f"{server.standbys} standby{'' if server.standbys == 1 else 's'} follow")


def _encryption(server: Server) -> Iterator[Finding]:
    mend = "add ?sslmode=verify-full&sslrootcert=/path/to/ca.pem to the store's URL"
    if server.remote and not server.tls:
        text = "the way to the server is not encrypted: orders and results can be read on it"
        yield Finding("encryption", "problem", text, mend)
    elif server.remote and not server.checked:
        text = "the way is encrypted, but nobody checks whose server it is"
        yield Finding("encryption", "warning", text, mend)
    elif server.tls:
        yield Finding("encryption", "ok", "the way to the server is encrypted")


def _clock(server: Server) -> Iterator[Finding]:
    if abs(server.offset) > _APART:
        ahead = "ahead of" if server.offset > 0 else "behind"
        text = f"the server's clock is {abs(server.offset):,.0f} s {ahead} ours; its time counts"
        yield Finding("server clock", "warning", text, "let both hosts keep time by NTP (`timedatectl`)")
