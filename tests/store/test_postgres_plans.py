"""Statements of the hot path go along the index that they are meant for, however misleading the statistics are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from postgres_server import cluster

from batchctl.engines import postgres
from batchctl.engines.postgres_sql import compiled

Connection = psycopg.Connection[tuple[Any, ...]]

FILL = """
INSERT INTO items (batch_no, position, key, state, worker_id, waiting_for, lane_no, claim_no, completed_at)
SELECT 1 + n %% 2, n, %(prefix)s || n::text, state, CASE WHEN state = 'processing' THEN 'w' END,
       CASE WHEN state = 'waiting' THEN waiting_for END, 1, 1, CASE WHEN state IN ('failed', 'completed') THEN 1 END
FROM (SELECT n, (%(states)s::text[])[1 + n %% cardinality(%(states)s::text[])] AS state,
             (ARRAY['retry', 'lane', 'rate'])[1 + n %% 3] AS waiting_for
      FROM generate_series(1, %(count)s) n) made
"""
STATES = ["processing", "pending", "waiting", "failed"]
PARAMS: dict[str, Any] = {
    "id": 7,
    "ids": "[7, 8]",
    "rows": "[[7, 1, 1, 1], [8, 1, 1, 1]]",
    "worker_id": "w",
    "claim_no": 1,
    "now": 5,
    "state": "failed",
    "waiting_for": None,
    "counted": 1,
    "next_attempt_at": None,
    "started_at": 1,
    "completed_at": 1,
}
NAMED = (
    *(
        "claim_item",
        "complete_items",
        "settle_item",
        "cancel_told",
        "claims_held",
        "tell_item",
        "cancel_item",
        "retry_items",
    ),
    *("lane_demote", "lane_ready", "lane_due", "lane_unclaim"),
)
PLACED: dict[str, Sequence[Any]] = {
    "set_progress": (1.0, 7, "w", 1),
    "make_due": (7,),
    "lane_put_off": (9, 7),
    "make_rated_due": (7,),
    "move_retry": (1, 7),
}


@pytest.fixture(scope="module", params=["nothing of a kind", "all of a kind"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Many items in every state, while the statistics are those of another time: when all had ended, or hardly any
    item was there."""
    with cluster().database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE items SET (autovacuum_enabled = off)")
        if request.param == "nothing of a kind":
            connection.execute(FILL, {"states": ["completed"], "count": 2000, "prefix": "old"})
        else:
            connection.execute(FILL, {"states": STATES, "count": 8, "prefix": "old"})
        connection.execute("ANALYZE items")
        connection.execute(FILL, {"states": STATES, "count": 4000, "prefix": "new"})
        yield connection


def plan(connection: Connection, name: str, params: Any) -> str:
    """How the server does a statement within a write."""
    statement = compiled()[name]
    cursor = psycopg.RawCursor(connection)
    with connection.transaction():
        cursor.execute(postgres._PLANS)
        return "\n".join(row[0] for row in cursor.execute(f"EXPLAIN {statement.sql}", statement.values(params)))


def test_items_named_by_ids_are_found_by_their_key(connection: Connection) -> None:
    for name, params in {**dict.fromkeys(NAMED, PARAMS), **PLACED}.items():
        text = plan(connection, name, params)
        assert set(re.findall(r"Index.* using (\w+) on items", text)) == {"items_pkey"}, f"{name}:\n{text}"


def test_a_claim_goes_along_what_is_ready(connection: Connection) -> None:
    text = plan(connection, "claim_items", PARAMS | {"groups": "[[1, 0]]", "limit": 100})
    assert "Index Scan using items_ready" in text, text
    assert "Sort" not in text


def test_bulk_acts_go_along_what_has_not_succeeded(connection: Connection) -> None:
    where = {"no": 1, "after": 0, "failed": 1, "cancelled": 0, "ids": None, "lane": None, "error": None, "limit": 100}
    assert "Index Scan using items_unsuccessful" in plan(connection, "retriable_items", where)
