"""What docs/past-one-database.md says of partitions: its SQL does what the page promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
from conftest import Cli
from postgres_server import cluster

PAGE = Path(__file__).parent.parent / "docs" / "past-one-database.md"
PROCESSORS = "  greet: {command: [echo, hello], max_retries: 0}\n"
TABLES = ("item_data", "item_results", "attempts", "attempt_logs", "item_steps")


def blocks() -> list[str]:
    return re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_tables_can_be_partitioned_by_hand_and_work_goes_on(cli: Cli) -> None:
    with cluster().database() as url, psycopg.connect(url, autocommit=True) as connection:
        (cli.folder / "batchctl.yaml").write_text(f'store: "{url}"\nprocessors:\n{PROCESSORS}', encoding="utf-8")
        orders = "\n".join(f'{{"id": "A{n}"}}' for n in range(60))  # enough for COPY
        cli.ok("enqueue", "orders", "-", "-p", "greet", "--run", stdin=orders)
        partition, find = blocks()
        for table in TABLES:
            connection.execute(partition.replace("item_data", table).encode())
        # the next items lie in the second partition
        connection.execute("SELECT setval('items_id_seq', 10000000)")
        cli.ok("enqueue", "orders", "-", "-p", "greet", "--run", "--again", stdin=orders)
        assert answers(connection, find) == [("completed",)]
        parts = [f"{table}{part}" for table in TABLES[:3] for part in ("_old", "_1")]
        assert {part: len(answers(connection, f"TABLE {part}")) for part in parts} == dict.fromkeys(parts, 60)
        (line,) = cli.json("list", "--limit", "1")["batches"]
        assert len(cli.json("results", line["id"])) == 60


def answers(connection: psycopg.Connection[tuple[Any, ...]], sql: str) -> list[tuple[Any, ...]]:
    """Rows without their first column where they have two."""
    return [row[-1:] for row in connection.execute(sql.encode())]
