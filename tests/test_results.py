"""results: every format, in input order, nothing changed that was put in."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest
from openpyxl import load_workbook
from queuekit import Program


@pytest.fixture
def june(program: Program) -> Program:
    """Five orders: three completed (one was to be cancelled), one failed, one pending; hostile text in them."""
    orders = [
        {"id": "00123", "Order No": "A|1", "note": "=1+1", "total": "12.50"},
        {"id": "b\n2", "Order No": 'say "hi", <b>&</b>', "note": None, "total": 7},
        {"id": "k3", "Order No": "\x1b[31mred", "note": {"a": [1, "x"]}, "total": 1.10},
        {"id": "k4"},
        {"id": "k5"},
    ]
    program.queue.add(orders, name="june")
    one, two, three, four = program.queue.claim(4)
    program.queue.complete(two, {"pdf": "2.pdf", "ok": True})
    program.queue.complete(one, {"total": "12.50", "pdf": "=cmd()"})
    program.queue.fail(three, "no such\ncustomer ]]>")
    program.queue.store.cancel_items([four.number], "ann")
    program.queue.complete(four, {"late": 1})
    return program


def test_json_lines_hold_an_item_each_in_input_order(june: Program) -> None:
    items = [json.loads(line) for line in june("results", "june").out.splitlines()]
    assert [item["key"] for item in items] == ["00123", "b\n2", "k3", "k4"]
    assert items[0]["result"] == {"total": "12.50", "pdf": "=cmd()"}
    assert items[2]["error"]["message"] == "no such\ncustomer ]]>"


def test_json_is_one_document(june: Program) -> None:
    found = june("results", "june", "--format", "json").json
    assert [item["key"] for item in found] == ["00123", "b\n2", "k3", "k4"]
    assert june("results", "june", "--json").json == found
    assert june("results", "june", "--json", "--status", "cancelled").json == []


def test_states_can_be_chosen(june: Program) -> None:
    def keys(*args: str) -> list[str]:
        return [item["key"] for item in june("results", "june", "--json", *args).json]

    assert keys("--status", "failed") == ["k3"]
    assert keys("--status", "all") == ["00123", "b\n2", "k3", "k4", "k5"]
    assert keys("--status", "failed", "--status", "pending") == ["k3", "k5"]
    june("pause", "june")
    assert keys("--status", "waiting") == ["k5"]
    assert keys("--status", "pending") == []


def test_csv_begins_with_the_input_unchanged(june: Program) -> None:
    rows = list(csv.reader(io.StringIO(june("results", "june", "--format", "csv").out, newline="")))
    assert rows[0] == [
        *("id", "Order No", "note", "total"),
        *("_key", "_state", "_result.total", "_result.pdf", "_result.ok", "_result.late", "_error"),
    ]
    assert rows[1] == ["00123", "A|1", "=1+1", "12.50", "00123", "completed", "12.50", "=cmd()", "", "", ""]
    assert rows[2] == ["b\n2", 'say "hi", <b>&</b>', "", "7", "b\n2", "completed", "", "2.pdf", "true", "", ""]
    assert rows[3][:4] == ["k3", "\x1b[31mred", '{"a": [1, "x"]}', "1.1"]
    assert rows[3][-1] == "NotFound: no such\ncustomer ]]>"


def test_csv_keeps_the_digits_of_numbers(program: Program) -> None:
    program.queue.add([{"id": 10**30}])
    (item,) = program.queue.claim()
    program.queue.complete(item, "plain text")
    rows = list(csv.DictReader(io.StringIO(program("results", "latest", "--format", "csv").out)))
    assert rows == [
        {"id": str(10**30), "_key": str(10**30), "_state": "completed", "_result": "plain text", "_error": ""}
    ]


def test_xlsx_keeps_text_as_text(june: Program, tmp_path: Path) -> None:
    june("results", "june", "-o", "out.xlsx")
    rows = list(load_workbook(tmp_path / "out.xlsx").active.iter_rows())
    assert [cell.value for cell in rows[0]][:4] == ["id", "Order No", "note", "total"]
    assert [(cell.value, cell.data_type) for cell in rows[1]][:3] == [("00123", "s"), ("A|1", "s"), ("=1+1", "s")]
    assert [cell.value for cell in rows[2]][3] == 7
    assert rows[3][1].value == "\\x1b[31mred"
    assert "f" not in {cell.data_type for row in rows for cell in row}


def test_markdown_is_a_table_whatever_is_in_it(june: Program) -> None:
    lines = june("results", "june", "--format", "markdown").out.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 6
    assert all(line.replace("\\|", "").count("|") == 5 for line in table)
    assert lines[2].endswith(": 3 completed, 1 failed, 1 pending.")


def test_junit_is_well_formed(june: Program) -> None:
    root = ElementTree.fromstring(june("results", "june", "--format", "junit", "--status", "all").out)  # noqa: S314 - ours
    (suite,) = root
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (
        "june",
        "5",
        "1",
        "1",
    )
    assert [case.get("name") for case in suite] == ["00123", "b\n2", "k3", "k4", "k5"]
    failure = suite[2].find("failure")
    assert failure is not None
    assert failure.text == "NotFound: no such\ncustomer ]]>"


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "markdown", "junit"])
def test_nothing_to_report_is_still_a_document(program: Program, form: str) -> None:
    program.queue.add(1)
    out = program("results", "latest", "--format", form).out
    if form == "json":
        assert json.loads(out) == []
    elif form == "csv":
        assert out == "_key,_state,_result,_error\n"
    elif form == "junit":
        assert ElementTree.fromstring(out).find("testsuite") is not None  # noqa: S314 - ours


def test_a_group_is_one_document(program: Program) -> None:
    program.queue.add(4, split=2, name="big")
    for item in program.queue.claim(4):
        program.queue.complete(item, 1)
    assert [item["key"] for item in program("results", "big", "--json").json] == ["k1", "k2", "k3", "k4"]


def test_a_file_is_written_whole_or_not_at_all(june: Program, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        answer = june("results", "june", "-o", "out.csv")
    finally:
        os.umask(before)
    assert answer.out == ""
    path = tmp_path / "out.csv"
    assert path.read_text(encoding="utf-8").startswith("id,Order No,")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("old")
    june("results", "nothing", "-o", "out.csv", code=4)
    june("results", "june", "-o", "none/out.csv", code=2)
    assert path.read_text() == "old"
    (tmp_path / "folder").mkdir()
    june("results", "june", "-o", "folder", code=2)
    assert not list(tmp_path.glob(".*.part"))


def test_with_json_a_file_is_named_in_the_answer(june: Program, tmp_path: Path) -> None:
    """The file has its own format; standard output holds one document."""
    for words, form in ((["-o", "x.csv"], "csv"), (["-o", "x", "--format", "csv"], "csv"), (["-o", "y"], "json")):
        answer = june("results", "june", *words, "--json")
        assert answer.json == {"file": str(tmp_path / words[1]), "format": form}
        assert answer.err == ""
        assert (tmp_path / words[1]).read_text().startswith("[" if form == "json" else "id,")


def test_the_name_of_the_file_tells_the_format(june: Program, tmp_path: Path) -> None:
    for name, begin in (("a.json", "["), ("a.jsonl", "{"), ("a.md", "## june"), ("a.xml", "<?xml"), ("a", "{")):
        june("results", "june", "-o", name)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)
    june("results", "june", "-o", "b.json", "--format", "csv")
    assert (tmp_path / "b.json").read_text(encoding="utf-8").startswith("id,")
    (tmp_path / "link").symlink_to("a.json")
    june("results", "june", "-o", "link", "--format", "csv")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith("id,")


@pytest.mark.parametrize("words", ["results june --format csv", "errors --format github", "stats --format prometheus"])
def test_with_json_standard_output_holds_json_and_nothing_else(june: Program, words: str) -> None:
    answer = june(*words.split(), "--json", code=2)
    assert answer.json["error"]["message"].startswith("--json and --format ")
