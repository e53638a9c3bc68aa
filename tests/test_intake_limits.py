"""`accept:` of processors and of organizations, as `enqueue` tells of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from queuekit import Program

CONFIG = """
processors:
  p:
    command: [echo, "{{ id }}"]
    accept: {max_items: 4, batches_per_user: 2/h}
  menus:
    command: [echo, "{{ path }}"]
    accept: {types: [pdf, csv]}
organizations:
  acme: {accept: {max_items: 3, batches_per_organization: 3/d, types: [pdf], max_file_size: 20}}
  "*": {accept: {max_items: 2}}
"""


@pytest.fixture
def work(program: Program, tmp_path: Path) -> Program:
    path = tmp_path / "batchctl.yaml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return program


def ids(count: int) -> list[str]:
    return [word for n in range(count) for word in ("--id", f"k{n}")]


def refusal(work: Program, *args: object) -> dict[str, object]:
    error: dict[str, object] = work("enqueue", *args, "--json", code=2).json["error"]
    return error


def test_the_stricter_of_processor_and_organization_wins(work: Program) -> None:
    order = ("orders", "-p", "p")
    error = refusal(work, *order, *ids(4), "--org", "acme")
    assert error["message"] == "4 items, but organization acme accepts at most 3 in a batch (max_items)"
    error = refusal(work, *order, *ids(3), "--org", "bolt")
    assert error["message"] == "3 items, but organization bolt accepts at most 2 in a batch (max_items)"
    error = refusal(work, *order, *ids(3))
    assert error["message"] == "3 items, but work without an organization accepts at most 2 in a batch (max_items)"
    assert "acme accepts at most 3" in str(refusal(work, *order, *ids(5), "--org", "acme", "--split", "4")["message"])
    assert "at most 3" in str(refusal(work, *order, *ids(4), "--org", "acme", "--dry-run")["message"])
    assert work("list", "--json").json["total"] == 0


def test_files_must_please_both(work: Program, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4\n" + b"x" * 50)
    error = refusal(work, "files", "a.csv", "b.pdf", "-p", "menus", "--org", "acme")
    assert error["details"] == [
        "a.csv: is text/csv by its content, but organization acme accepts only pdf (types)",
        "b.pdf: has 59 bytes, but organization acme accepts at most 20 (max_file_size)",
    ]
    work("enqueue", "files", "a.csv", "b.pdf", "-p", "menus")


def test_batches_of_a_user_and_of_an_organization(work: Program) -> None:
    def bring(user: str, *more: str, code: int = 0) -> str:
        words = ("enqueue", "orders", *ids(1), "--again", "--org", "acme", "--user", user, *more, "--json")
        answer = work(*words, code=code).json
        return json.dumps(answer["error"]) if code else answer["batch"]["id"]

    bring("ann", "-p", "p")
    bring("ann", "-p", "p")
    error = bring("ann", "-p", "p", code=2)
    assert '"LimitReached"' in error
    assert re.search(r"2 batches have come since .* ann may enqueue 2 in any hour for p \(batches_per_user\)", error)
    assert re.search(r"try again at \d", error)
    assert '"LimitReached"' in bring("ann", "-p", "p", "--dry-run", code=2)
    bring("bob", "-p", "p")
    error = bring("eve", "-p", "p", code=2)
    assert "organization acme may enqueue 3 in any day (batches_per_organization)" in error
    work("enqueue", "orders", *ids(1), "--org", "bolt", "-p", "p")  # whom that does not concern


def test_a_command_of_the_command_line_is_limited_by_its_organization(work: Program) -> None:
    error = work("--json", "--org", "acme", "enqueue", "orders", *ids(4), "--", "true", code=2).json["error"]
    assert "organization acme accepts at most 3" in str(error["message"])
