"""BATCHCTL_ORG pins a shell to one organization: of another nothing is seen, named, counted or changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databases import Database
from queuekit import Program, Queue

from batchctl.announce import Alert
from batchctl.model import Item
from batchctl.store import Claimer, Scope
from batchctl.transitions.alerts import raise_alert

CONFIG = """
processors:
  shared: {command: [cat]}
check: {retention: {completed: 0s, failed: 0s, cancelled: 0s, completed_with_errors: 0s},
        alerts: {queue_depth: 1, failure_rate: 1%, stuck: never}}
notifications:
  - {name: ops, to: "json://127.0.0.1:9/hook"}
  - {name: bolts, to: "json://127.0.0.1:9/bolt-hook", organizations: [bolt]}
"""
THEIRS = "bolt"  # every word of theirs holds it: names, keys, payloads, results, errors, users, workers' logs
TABLES = ("batches", "items", "item_data", "item_results", "attempts", "events", "outbox", "alerts", "attempt_logs")


@pytest.fixture
def shop(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Both have the same in the store: a batch with each state, one that is finished, messages, an alert, a group."""
    path = tmp_path / "batchctl.yaml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    (tmp_path / "o.csv").write_text("id,note\nx,acme\n")
    for org in ("acme", THEIRS):
        _fill(program, org)
    monkeypatch.setenv("BATCHCTL_ORG", "acme")
    return program


def _fill(program: Program, org: str) -> None:
    queue = program.queue
    orders = [{"id": f"{org}-k{n}", "note": "same" if n else org} for n in range(6)]
    queue.add(orders, processor="shared", name=f"{org}-july", org=org, user=f"{org}-jo")
    done, failed, late = claim(queue, org, 3)
    queue.complete(done, f"{org}-says")
    queue.fail(failed, f"{org}-says")
    queue.retry_later(late, f"{org}-later")
    (ended,) = queue.add([{"id": f"{org}-d"}], processor="shared", name="done", org=org, user=f"{org}-jo")
    queue.store.cancel_batch(ended, f"{org}-jo")
    queue.add([{"id": f"{org}-s{n}"} for n in range(4)], name="parts", org=org, user=f"{org}-jo", split=2)
    if org == THEIRS:
        queue.add([{"id": f"{org}-t"}], processor="bolt-only", name="bolt-own", org=org, user=f"{org}-jo")
    else:
        queue.add([{"id": "acme-own"}], processor="shared", name="our-own", org=org, user="acme-jo")
    with queue.store.engine.write() as tx:
        now = queue.store.engine.now()
        raise_alert(tx, Alert("stuck_batch", f"{org}-alert", organization=org), org, None, now)
        for state in ("due", "dead"):
            notice = {
                "batch_no": None, "run_no": None, "organization": org, "event": "failed",
                "target": "bolts" if org == THEIRS else "ops",
                "message": json.dumps({"subject": f"{org}-subject", "recipient": f"{org}-mail"}).encode(),
                "now": now, "expires_at": now + 3_600_000,
            }  # fmt: skip
            tx.run("insert_notice", notice)
            if state == "dead":
                tx.all("expired_notices", {"now": now + 7_200_000, "error": f"{org}-dead", "org": org})
                tx.run("insert_notice", notice)


def claim(queue: Queue, org: str, limit: int) -> list[Item]:
    engine = queue.store.engine
    with engine.write() as tx:
        scope = Scope(frozenset({"shared"}), organization=org)
        return Claimer(engine, queue.worker).claim(tx, scope, limit, engine.now())


def theirs(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of theirs, as it stands in the tables."""
    found = {}
    for table in TABLES:
        by_item = table in ("item_data", "item_results", "attempt_logs")
        whose = "item_id IN (SELECT id FROM items WHERE organization = ?)" if by_item else "organization = ?"
        found[table] = sorted(database.query(f"SELECT * FROM {table} WHERE {whose}", THEIRS), key=repr)  # noqa: S608 - our names
    return found


def item_of(database: Database, org: str) -> int:
    (row,) = database.query("SELECT min(id) FROM items WHERE organization = ? AND state = 'failed'", org)
    return int(row[0])


COMMANDS = [
    "list", "list --json", "show july", "show acme-july", "show latest", "show latest --json",
    "show acme-july --items all", "show done", "show parts", "show parts --json", "find same", "find same --json",
    "find bolt --field note", "why acme-july", "why acme-july --json", "why our-own", "why parts",
    "results acme-july", "results acme-july --status all", "errors", "errors --json", "errors acme-july",
    "history acme-july", "history acme-july --json", "workers", "workers --json", "stats", "stats --json",
    "stats --since 1d", "stats --format prometheus", "watch done", "notify list", "notify list --json",
    "notify test", "notify retry", "doctor", "doctor --json", "backup copy.db", "check --json", "check -v",
    "cleanup --older-than 0s -y", "cleanup --older-than 0s --dry-run --json", "run --no-wait --json",
    "run --max-items 1", "retry --all-failed", "retry --all-failed --cancelled --json",
    "retry acme-july --data o.csv --key id", "cancel latest -y", "cancel parts -y", "pause --all", "pause parts",
    "pause --processor shared", "resume --all", "resume --processor shared", "set parts --priority high",
    "set done --name other", "enqueue orders o.csv -p shared --skip-known",
    "enqueue orders o.csv -p shared --name parts", "enqueue orders o.csv -p shared --idempotency-key k --json",
    "store copy a.db b.db", "store upgrade", "store roles",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_of_another_is_seen_or_changed(shop: Program, database: Database, command: str) -> None:
    before = theirs(database)
    answer = shop(*command.split(), code=None)
    assert THEIRS not in (answer.out + answer.err).replace("find bolt", ""), answer
    assert theirs(database) == before


NAMED = [
    "show {}", "why {}", "history {}", "logs {}", "retry {}", "cancel {} -y", "results {}", "errors {}",
    "watch {}", "pause {}", "resume {}", "set {} --priority high", "run {}",
]  # fmt: skip


@pytest.mark.parametrize("command", NAMED)
def test_what_is_named_does_not_exist(shop: Program, database: Database, command: str) -> None:
    before = theirs(database)
    ((batch,),) = database.query("SELECT id FROM batches WHERE name = 'bolt-july'")
    names = [batch, batch[:8], "bolt-july", "bolt-july/bolt-k1", str(item_of(database, THEIRS))]
    for name in names:
        words = command.format(name).split()
        answer, nowhere = shop(*words, code=None), shop(*command.format("nothing-here").split(), code=None)
        assert answer.code == nowhere.code == 4
        said = (answer.out + answer.err).replace(name, "X")
        assert THEIRS not in said
    assert theirs(database) == before


def counts(answer: Callable[..., Any]) -> dict[str, Any]:
    listed, statistics = answer("list", "--json").json, answer("stats", "--json").json
    return {
        "batches": listed["total"],
        "queue": statistics["queue"]["items"],
        "ended": statistics["attempts"],
        "organizations": [one["name"] for one in statistics["organizations"]],
        "users": [one["name"] for one in statistics["users"]],
        "messages": answer("notify", "list", "--json").json["summary"]["total"],
        "failed": answer("errors", "--json").json["failed_items"],
        "found": len(answer("find", "same", "--json").json["items"]),
    }


def test_only_ours_is_counted(shop: Program) -> None:
    assert counts(shop) == {
        "batches": 5, "queue": 9, "ended": 3, "organizations": ["acme"], "users": ["acme-jo"], "messages": 3,
        "failed": 1, "found": 5,
    }  # fmt: skip
    done = shop("check", "--json", code=None).json
    assert done["processed_batches"] == 4
    assert done["drained"]["completed"] == 4
    assert [one["organization"] for one in done["alerts"]] in ([], ["acme"])
    assert done["deleted_batches"] <= 3


def test_keys_and_names_of_others_are_free(shop: Program) -> None:
    words = ("enqueue", "orders", "o.csv", "-p", "shared", "--idempotency-key", "k", "--name", "july", "--json")
    mine = shop(*words).json["batch"]["id"]
    other = shop(*words, "--org", THEIRS).json
    assert other["existing"] is False
    assert other["batch"]["id"] != mine
    assert shop(*words).json["existing"] is True
    known = ("enqueue", "orders", "o.csv", "-p", "shared", "--skip-known", "--key", "id", "--json")
    assert shop(*known).json["skipped_items"] == 1
    assert shop(*known, "--org", "third").json["skipped_items"] == 0


@pytest.mark.parametrize("line", ["organization: acme", '"organization" : acme', "? organization"])
def test_a_broken_config_does_not_open_what_it_limits(
    shop: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.delenv("BATCHCTL_ORG")
    (tmp_path / "batchctl.yaml").write_text(f"{line}\nwroker: {{}}\n")
    for command in ("list", "show bolt-july", "stats", "find bolt-k1", "cancel bolt-july -y"):
        answer = shop(*command.split(), code=2)
        assert THEIRS not in answer.out
    assert "acme-july" in shop("list", "--org", "acme").out
