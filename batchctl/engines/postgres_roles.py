"""The SQL that gives a store on a server its roles: owner, worker, reader, and readers of one organization each.

It is derived from the tables that are there, so that none is forgotten, and may be run again at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from psycopg import sql

from batchctl.engines.postgres_connection import Connection
from batchctl.reserved import is_reserved

_TABLES = """
SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
GROUP BY c.relname ORDER BY c.relname COLLATE "C"
"""
_PLACE = """
SELECT current_database(), current_schema(), EXISTS (
    SELECT 1 FROM pg_class WHERE relname = 'items' AND relnamespace = current_schema()::regnamespace AND relrowsecurity)
"""
# What programs need who may only read what is there; the rest belongs to the owner.
_VERSIONS, _TENANTS = "store_migrations", "store_tenants"
_NUMBERS = "items_id_seq"  # reserved in runs, by setval
_LONGEST = 63  # bytes of a name


@dataclass(frozen=True, slots=True)
class Wanted:
    """`prefix` of the roles' names. `rows`: whether readers see the rows of their organizations alone; None: as it is
    now. `tenants`: organizations that get a reader of their own."""

    prefix: str = "batchctl"
    rows: bool | None = None
    tenants: Sequence[str] = ()


def roles(connection: Connection, wanted: Wanted) -> str:
    """The script, for psql."""
    row = connection.execute(_PLACE).fetchone()
    assert row is not None
    database, schema, guarded = row
    rows = bool(wanted.tenants) or (guarded if wanted.rows is None else wanted.rows)
    tables: dict[str, list[str]] = dict(connection.execute(_TABLES).fetchall())
    tables.pop(_TENANTS, None)
    script = _Script(connection, schema, wanted.prefix)
    script.head(database, rows=rows)
    script.made([script.owner, script.worker, script.reader])
    script.places(database)
    script.owned(tables)
    script.granted(tables, readers_get_new=not rows)
    if rows:
        script.tenants()
        for name, columns in tables.items():
            if name != _VERSIONS:
                script.guarded(name, columns)
        script.bypass()
        for organization in wanted.tenants:
            script.tenant(organization, database)
    elif guarded:
        script.unguarded(tables)
    return script.text()


class _Script:
    """Statements, one after the other, with every name quoted."""

    def __init__(self, connection: Connection, schema: str, prefix: str) -> None:
        self.owner, self.worker, self.reader = f"{prefix}_owner", f"{prefix}_worker", f"{prefix}_reader"
        self._connection = connection
        self._schema = schema
        self._lines: list[str] = []

    def text(self) -> str:
        return "\n".join([*self._lines, "COMMIT;", ""])

    def _say(self, *lines: str) -> None:
        self._lines += ["", *(f"-- {line}" for line in lines)]

    def _do(self, statement: str, **names: str | sql.Composable) -> None:
        """`{name}` is an identifier, in the store's schema with `{schema}.{name}`."""
        parts = {name: sql.Identifier(one) if isinstance(one, str) else one for name, one in names.items()}
        text = sql.SQL(statement).format(schema=sql.Identifier(self._schema), **parts)
        self._lines.append(text.as_string(self._connection) + ";")

    def head(self, database: str, *, rows: bool) -> None:
        self._lines += [
            f"-- Roles of the batchctl store in the database {_one_line(database)}, schema {_one_line(self._schema)}.",
            "-- Run it by psql as a superuser (a managed server: as its administrator), again after each upgrade.",
            f"--   {self.owner}   owns the tables: for `batchctl store upgrade` and `store copy`",
            f"--   {self.worker}  for everything else that batchctl does: enqueue, run, check, retry, cleanup …",
            f"--   {self.reader}  reads" + (", and of rows only those that store_tenants gives it" if rows else " all"),
            "-- None has a password yet: \\password NAME in psql, or a certificate or peer login in pg_hba.conf.",
            "BEGIN;",
            "SET LOCAL client_min_messages = warning;",
        ]

    def made(self, names: Iterable[str]) -> None:
        for name in names:
            create = sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name))
            self._do(
                "DO {body}",
                body=sql.Literal(
                    "BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = "
                    + sql.Literal(name).as_string(self._connection)
                    + ") THEN "
                    + create.as_string(self._connection)
                    + "; END IF; END"
                ),
            )

    def places(self, database: str) -> None:
        self._say("They may enter; only the owner makes tables.")
        everybody = _listed([self.owner, self.worker, self.reader])
        self._do("GRANT CONNECT ON DATABASE {database} TO {everybody}", database=database, everybody=everybody)
        self._do("REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
        self._do("GRANT USAGE ON SCHEMA {schema} TO {everybody}", everybody=everybody)
        self._do("GRANT CREATE ON SCHEMA {schema} TO {owner}", owner=self.owner)

    def owned(self, tables: Iterable[str]) -> None:
        self._say("The owner.")
        for table in tables:
            if is_reserved(table):
                self._do("ALTER TABLE {schema}.{table} OWNER TO {owner}", table=table, owner=self.owner)
        self._do("ALTER FUNCTION {schema}.short_key(text) OWNER TO {owner}", owner=self.owner)

    def granted(self, tables: Iterable[str], *, readers_get_new: bool) -> None:
        self._say("The worker and the reader: rows, never the tables themselves.")
        for table in tables:
            both = _listed([self.worker, self.reader])
            self._do("REVOKE ALL ON {schema}.{table} FROM PUBLIC, {both}", table=table, both=both)
            if table != _VERSIONS:
                may = "GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.{table} TO {worker}"
                self._do(may, table=table, worker=self.worker)
            who = [self.reader] if table != _VERSIONS else [self.worker, self.reader]
            self._do("GRANT SELECT ON {schema}.{table} TO {who}", table=table, who=_listed(who))
        self._do("GRANT USAGE, UPDATE ON SEQUENCE {schema}.{numbers} TO {worker}", numbers=_NUMBERS, worker=self.worker)
        self._say("Tables of later versions.")
        of_new = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} "
        may = "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {worker}"
        self._do(of_new + may, owner=self.owner, worker=self.worker)
        reads = "GRANT SELECT ON TABLES TO {reader}" if readers_get_new else "REVOKE ALL ON TABLES FROM {reader}"
        self._do(of_new + reads, owner=self.owner, reader=self.reader)

    def tenants(self) -> None:
        self._say(
            "Which role sees which organization's rows, or everything. No role but the owner may read or change this.",
            "A role that is not in it sees nothing. To let the plain reader see all:",
            f"  INSERT INTO store_tenants VALUES ('{self.reader}', '', true);",  # noqa: S608 - a comment
        )
        self._do(
            "CREATE TABLE IF NOT EXISTS {schema}.store_tenants (role_name NAME NOT NULL, "
            'organization TEXT COLLATE "C" NOT NULL, everything BOOLEAN NOT NULL DEFAULT false, '
            "PRIMARY KEY (role_name, organization))"
        )
        self._do("ALTER TABLE {schema}.store_tenants OWNER TO {owner}", owner=self.owner)
        both = _listed([self.worker, self.reader])
        self._do("REVOKE ALL ON {schema}.store_tenants FROM PUBLIC, {both}", both=both)
        for name, kind, what in (
            ("store_organizations", "TEXT[]", "coalesce(array_agg(organization) FILTER (WHERE NOT everything), '{}')"),
            ("store_sees_all", "BOOLEAN", "coalesce(bool_or(everything), false)"),
        ):
            query = sql.SQL(
                "SELECT {what} FROM {schema}.store_tenants "
                "WHERE role_name = who AND pg_has_role(session_user, who, 'MEMBER')"
            ).format(what=sql.SQL(what), schema=sql.Identifier(self._schema))
            self._do(
                "CREATE OR REPLACE FUNCTION {schema}.{name}(who NAME) RETURNS "
                + kind
                + " LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {body}",
                name=name,
                body=sql.Literal(query.as_string(self._connection)),
            )
            self._do("ALTER FUNCTION {schema}.{name}(name) OWNER TO {owner}", name=name, owner=self.owner)

    def guarded(self, table: str, columns: Sequence[str]) -> None:
        """Readers see the rows of the organizations that are theirs, workers all of them."""
        self._say(f"{_one_line(table)}: {_rule(table, columns)[0]}")
        self._do("ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY", table=table)
        for policy in ("store_worker", "store_reader"):
            self._do("DROP POLICY IF EXISTS {policy} ON {schema}.{table}", policy=policy, table=table)
        every = "CREATE POLICY store_worker ON {schema}.{table} TO {worker} USING (true) WITH CHECK (true)"
        self._do(every, table=table, worker=self.worker)
        some = (
            "CREATE POLICY store_reader ON {schema}.{table} FOR SELECT TO {reader} "
            "USING ((SELECT {schema}.store_sees_all(current_user))" + _rule(table, columns)[1] + ")"
        )
        self._do(some, table=table, reader=self.reader)

    def bypass(self) -> None:
        self._say("COPY, the fastest way in, is refused to who has policies to obey. Without it INSERT is used.")
        name = sql.Identifier(self.worker).as_string(self._connection)
        body = (
            f"BEGIN ALTER ROLE {name} BYPASSRLS; EXCEPTION WHEN insufficient_privilege THEN "
            f"RAISE WARNING 'not a superuser: enqueue by the worker will be a little slower'; END"
        )
        self._do("DO {body}", body=sql.Literal(body))

    def tenant(self, organization: str, database: str) -> None:
        name = tenant_role(self.reader, organization)
        self._say(f"The reader of {_one_line(organization)} alone.")
        self.made([name])
        self._do("GRANT {reader} TO {name}", reader=self.reader, name=name)
        self._do("GRANT CONNECT ON DATABASE {database} TO {name}", database=database, name=name)
        self._do(
            "INSERT INTO {schema}.store_tenants (role_name, organization) VALUES ({role}, {organization}) "
            "ON CONFLICT DO NOTHING",
            role=sql.Literal(name),
            organization=sql.Literal(organization),
        )

    def unguarded(self, tables: Iterable[str]) -> None:
        self._say("Every reader sees every row again.")
        for table in tables:
            self._do("ALTER TABLE {schema}.{table} DISABLE ROW LEVEL SECURITY", table=table)


def _rule(table: str, columns: Sequence[str]) -> tuple[str, str]:
    """(in words, as a condition to be added): whose rows these are. Of other people's tables nobody can tell."""
    if is_reserved(table):
        if "organization" in columns:
            own = " OR organization = ANY ((SELECT {schema}.store_organizations(current_user))::text[])"
            return "rows by their organization", own
        if "item_id" in columns:
            return "rows by their item", " OR EXISTS (SELECT 1 FROM {schema}.items i WHERE i.id = item_id)"
        if "batch_no" in columns:
            return "rows by their batch", " OR EXISTS (SELECT 1 FROM {schema}.batches b WHERE b.no = batch_no)"
    return "of no organization: hidden from those who do not see all", ""


def tenant_role(reader: str, organization: str) -> str:
    """The name of the role that reads one organization; two organizations never have the same."""
    plain = re.sub(r"[^a-z0-9_]+", "_", organization.lower()).strip("_")
    name = f"{reader}_{plain}"
    if plain == organization and len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}_{blake2b(organization.encode(), digest_size=4).hexdigest()}"


def _one_line(text: str) -> str:
    """As it may stand in a comment."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _listed(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
