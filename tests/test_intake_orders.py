"""Orders in every format become items; what is wrong is told with its line."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchctl.intake.orders import given_ids, orders
from batchctl.intake.problems import SHOWN, Problems
from batchctl.intake.sources import records
from batchctl.model import Incoming


class Read:
    """What came of a source: items, problems, notes."""

    def __init__(self, path: Path, content: bytes | str | None = None, **options: Any) -> None:
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.problems, self.notes = Problems(), list[str]()
        streams = [(path.name, records(str(path), self.problems, self.notes.append))]
        self.items: list[Incoming] = list(orders(streams, problems=self.problems, **options))
        self.details = [line.replace(f"{path.parent}/", "") for line in self.problems.details()]

    @property
    def payloads(self) -> list[Any]:
        return [json.loads(item.payload) for item in self.items]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_finds_its_delimiter_and_keeps_text_as_text(tmp_path: Path, delimiter: str) -> None:
    lines = [["id", "amount", "note"], ["00123", "1,5", "a; b"], ["00124", "2,75", 'say "hi"']]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(lines)
    read = Read(tmp_path / "o.csv", text.getvalue())
    assert not read.details
    assert read.payloads == [dict(zip(lines[0], row, strict=True)) for row in lines[1:]]
    assert [item.key for item in read.items] == ["00123", "00124"]


def test_csv_values_may_hold_line_breaks_and_lines_are_still_told_right(tmp_path: Path) -> None:
    read = Read(tmp_path / "o.csv", 'id,note\n1,"two\nlines\nthree"\n2,x\n3\n')
    assert [item.where for item in read.items] == ["o.csv:2", "o.csv:5"]
    assert read.payloads[0]["note"] == "two\nlines\nthree"
    assert read.details == ["o.csv:6: has 1 value, but the header names 2"]


@pytest.mark.parametrize(
    ("codec", "note"),
    [("utf-8", []), ("utf-8-sig", []), ("utf-16", []), ("cp1252", ["o.csv: is not UTF-8, read as Windows-1252"])],
)
def test_csv_in_any_usual_encoding(tmp_path: Path, codec: str, note: list[str]) -> None:
    read = Read(tmp_path / "o.csv", "id;name\n1;Müller – Søn\n".encode(codec))
    assert read.payloads == [{"id": "1", "name": "Müller – Søn"}]
    assert [n.replace(f"{tmp_path}/", "") for n in read.notes] == note


def test_an_encoding_is_judged_by_all_bytes(tmp_path: Path) -> None:
    text = "id,name\n" + "".join(f"{n},plain\n" for n in range(200_000)) + "x,Ärger\n"
    read = Read(tmp_path / "o.csv", text.encode("cp1252"))
    assert read.payloads[-1] == {"id": "x", "name": "Ärger"}


def test_csv_with_excels_first_line_empty_columns_and_rows(tmp_path: Path) -> None:
    read = Read(tmp_path / "o.csv", "sep=|\nid|name||\n1|a||\n|||\n\n2|b\n3|c||x\n")
    assert read.payloads == [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]
    assert read.details == ["o.csv:7: has 4 values, but the header names 2"]


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    assert Read(tmp_path / "o.csv", "uuid\na-1\nb-2\n").payloads == [{"uuid": "a-1"}, {"uuid": "b-2"}]


def test_tsv_with_commas_in_its_values(tmp_path: Path) -> None:
    assert Read(tmp_path / "o.tsv", "id\ta,b\n1\tx,y\n").payloads == [{"id": "1", "a,b": "x,y"}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("id,,name\n1,2,3\n", "o.csv:1: column 2 has no name"),
        ("id,name,id\n1,2,3\n", "o.csv:1: columns 1 and 3 have the same name 'id'"),
        ('id,name\n1,"open\n2,x\n', "o.csv:2: a quoted value begins here and never ends"),
        ("\0\1\2\3" * 9, "o.csv: is no text; orders come as CSV, TSV, JSON, JSON Lines or XLSX"),
        (
            "id,name\n1,a\0bbbbbbbbbbbbbbbbbbbbbbbbbb\n",
            "o.csv:2: holds a NUL character (is it UTF-16 without a byte order mark?)",
        ),
        ("", "o.csv: holds no records"),
        ("id,name\n", "o.csv: holds no records"),
        ("id,name\n,x\n", "o.csv:2: 'id', its key, is empty"),
        ("id,name\n  ,x\n", "o.csv:2: 'id', its key, is empty"),
    ],
)
def test_what_is_wrong_with_a_csv(tmp_path: Path, content: str, problem: str) -> None:
    read = Read(tmp_path / "o.csv", content)
    assert read.details == [problem]
    assert not read.items


def test_json_lines_keep_their_text(tmp_path: Path) -> None:
    lines = ['{"id": 12345678901234567890123, "f": 1.10, "s": "a\\u2028b"}', '  {"id":"x","at":"10:30","n":{"a":1}}  ']
    read = Read(tmp_path / "o.jsonl", "\ufeff" + "\n\n".join(lines) + "\r\n")
    assert not read.details
    assert [item.payload for item in read.items] == [line.strip() for line in lines]
    assert [item.key for item in read.items] == ["12345678901234567890123", "x"]
    assert [item.where for item in read.items] == ["o.jsonl:1", "o.jsonl:3"]


def test_json_lines_split_at_line_feeds_alone(tmp_path: Path) -> None:
    read = Read(tmp_path / "o.jsonl", '{"id":"1","note":"a\u2028b\u0085c"}\n{"id":"2"}\n'.encode())
    assert [payload["id"] for payload in read.payloads] == ["1", "2"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": 1', "is not valid JSON: input data was truncated"),
        (b'{"id": NaN}', "is not valid JSON"),
        (b'{"id": "\xff"}', "is not UTF-8 text, which JSON must be"),
        (b"[1, 2]", "is a list, not an object"),
        (b"null", "is null, not an object"),
        (b'"text"', "is a string, not an object"),
        (b'{"id": 1, "id": 2}', "the name 'id' stands twice in one object"),
        (b'{"id": 1, "at": "10:30", "in": {"b" : 1, "b":2}}', "the name 'b' stands twice in one object"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "is nested too deeply"),
        (b'{"id": null}', "'id', its key, is null, not text or a number"),
        (b'{"id": true}', "'id', its key, is true or false, not text or a number"),
        (b'{"id": "a\\u0000b"}', "its key holds a NUL character"),
        (b'{"name": "x"}', "has no 'id' for its key"),
    ],
)
def test_what_is_wrong_with_a_line_of_json(tmp_path: Path, line: bytes, problem: str) -> None:
    read = Read(tmp_path / "o.jsonl", b'{"id":"a"}\n' + line + b'\n{"id":"b"}\n')
    assert len(read.details) == 1
    assert read.details[0].startswith(f"o.jsonl:2: {problem}")
    assert [item.key for item in read.items] == ["a", "b"]


ORDERS = [{"id": "a", "lines": [{"n": 1}, {"n": 2}], "big": 12345678901234567890}, {"id": "ü", "t": 'x"\\y'}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["o.json", "o.txt", "o"])
def test_json_arrays(tmp_path: Path, indent: int | None, name: str) -> None:
    read = Read(tmp_path / name, json.dumps(ORDERS, indent=indent))
    assert read.payloads == ORDERS
    assert all("\n" not in item.payload for item in read.items)


def test_json_objects_as_jq_prints_them(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(order, indent=2) for order in ORDERS)
    assert Read(tmp_path / "o.json", text).payloads == ORDERS


def test_a_long_json_array_is_read_in_pieces(tmp_path: Path) -> None:
    many = [{"id": n, "text": "x" * (n % 977)} for n in range(6_000)]
    assert Read(tmp_path / "o.json", json.dumps(many)).payloads == many


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "o.json: holds no records"),
        ('[{"id":1},\n 2]', "o.json:2 (record 2): is a number, not an object"),
        ('[{"id":1},\n{"id":2,"id":3}]', "o.json:2 (record 2): the name 'id' stands twice in one object"),
        (
            '[{"id":1}\n{"id":2}]',
            "o.json:2: is not valid JSON: ',' or ']' was expected; the rest of the file was not read",
        ),
        ('[{"id":1},\n', "o.json:2: is not valid JSON: Expecting value; the rest of the file was not read"),
        ('[{"id":1}', "o.json:1: the array has no end; the rest of the file was not read"),
        (
            '[{"id":1}]\n\nx',
            "o.json:3: there is more text after the end of the array; the rest of the file was not read",
        ),
    ],
)
def test_what_is_wrong_with_a_json_array(tmp_path: Path, content: str, problem: str) -> None:
    assert Read(tmp_path / "o.json", content).details == [problem]


def workbook(path: Path, *rows: list[Any], more: bool = False) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    if more:
        book.create_sheet("Other").append(["x"])
    book.save(path)
    return path


def test_xlsx_keeps_types(tmp_path: Path) -> None:
    day = dt.datetime(2026, 3, 1)
    path = workbook(
        tmp_path / "o.xlsx",
        ["Order No", "amount", "paid", "on", "at", "note"],
        [17, 12.5, True, day.date(), day.replace(hour=10, minute=30), None],
        [None, None, None, None, None, None],
        ["00018", 3, False, None, dt.time(8, 15), "x"],
        [None, "", None],
    )
    read = Read(path, key_fields=("Order No",))
    assert not read.details
    first = {
        "Order No": 17,
        "amount": 12.5,
        "paid": True,
        "on": "2026-03-01",
        "at": "2026-03-01T10:30:00",
        "note": None,
    }
    second = {"Order No": "00018", "amount": 3, "paid": False, "on": None, "at": "08:15:00", "note": "x"}
    assert read.payloads == [first, second]
    assert [(item.key, item.where) for item in read.items] == [("17", "o.xlsx:2"), ("00018", "o.xlsx:4")]


def test_xlsx_tells_of_other_sheets_and_bad_cells(tmp_path: Path) -> None:
    read = Read(workbook(tmp_path / "o.xlsx", ["id", "n"], [1, "#DIV/0!"], [2, 3, "right"], more=True))
    assert "has 2 sheets, read the first one, 'Sheet'" in read.notes[0]
    assert read.details == [
        "o.xlsx:2: cell B2 holds the error #DIV/0!",
        "o.xlsx:3: has values to the right of the 2 columns that the header names",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and no more", "is not a readable XLSX file"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "is an old Excel or Word file, or has a password",
        ),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"%PDF-1.7\n", "is a PDF; use `batchctl enqueue files`"),
    ],
)
def test_what_is_no_table_is_refused_by_its_content(tmp_path: Path, content: bytes, words: str) -> None:
    read = Read(tmp_path / "o.csv", content)
    assert len(read.details) == 1
    assert words in read.details[0]


@pytest.mark.parametrize(
    ("header", "key"), [("key,id", "k"), ("id,uuid", "k"), ("x,uuid,order_id", "l"), ("x,order_id", "l")]
)
def test_the_default_key_is_the_first_usual_field(tmp_path: Path, header: str, key: str) -> None:
    read = Read(tmp_path / "o.csv", f"{header}\nk,l,m\n" if header.count(",") == 2 else f"{header}\nk,l\n")
    assert [(item.key, item.explicit_key) for item in read.items] == [(key, True)]


def test_without_a_usual_field_the_row_is_the_key(tmp_path: Path) -> None:
    read = Read(tmp_path / "o.csv", "name\na\nb\n")
    assert [(item.key, item.position, item.explicit_key) for item in read.items] == [("1", 1, False), ("2", 2, False)]


def test_positions_go_on_over_several_sources_and_the_limit_counts_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("name\nx\ny\n")
    problems = Problems()
    streams = [(name, records(str(tmp_path / f"{name}.csv"), problems, print)) for name in ("a", "b")]
    streams.append(("--id", given_ids(["q", "r"], problems)))
    items = list(orders(streams, limit=5, problems=problems))
    assert [(item.position, item.key, item.where) for item in items] == [
        (1, "1", "a:2"),
        (2, "2", "a:3"),
        (3, "3", "b:2"),
        (4, "4", "b:3"),
        (5, "q", "--id:1"),
    ]
    assert not problems


def test_nothing_behind_the_limit_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1"}\n{"id": ""}\n{"id": ""}\nno record\n')
    problems = Problems()
    streams = [(name, records(str(tmp_path / name), problems, print)) for name in ("a.jsonl", "gone.jsonl")]
    assert [item.key for item in orders(streams, limit=2, problems=problems)] == ["1"]
    assert [detail.split(": ")[0] for detail in problems.details()] == ["a.jsonl:2"]


def test_only_so_many_reasons_are_listed_but_all_are_counted(tmp_path: Path) -> None:
    read = Read(tmp_path / "o.csv", "id,name\n" + "x\n" * (SHOWN + 17))
    assert len(read.details) == SHOWN + 1
    assert read.details[-1] == "… and 17 more"


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda name: name.strip() == name)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\r\t"))


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(NAMES, min_size=2, max_size=5, unique=True).filter(lambda names: not names[0].startswith("sep=")),
    rows=st.lists(st.lists(CELLS, min_size=5, max_size=5), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
)
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], rows: list[list[str]], delimiter: str
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    cut = [row[: len(names)] for row in rows]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *cut])
    path = folder / "o.csv"
    path.write_bytes(text.getvalue().encode("utf-8"))
    problems = Problems()
    found = [record for _, _, record in records(str(path), problems, print)]
    expected = [dict(zip(names, row, strict=True)) for row in cut if any(row)]
    assert found == expected
    assert problems.details() == ([] if expected else [f"{path}: holds no records"])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(VALUES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.dictionaries(VALUES, JSON_VALUES, max_size=4), min_size=1, max_size=6),
    indent=st.sampled_from([None, 1]),
    shape=st.sampled_from(["array", "lines", "row"]),
)
def test_what_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]], indent: int | None, shape: str
) -> None:
    path = tmp_path_factory.mktemp("json") / ("o.jsonl" if shape == "lines" else "o.json")
    texts = [json.dumps(value, indent=None if shape == "lines" else indent, ensure_ascii=False) for value in values]
    path.write_bytes((f"[{','.join(texts)}]" if shape == "array" else "\n".join(texts)).encode())
    problems = Problems()
    found = list(records(str(path), problems, print))
    assert not problems.details()
    assert [record for _, _, record in found] == values
    assert [json.loads(text) for _, text, _ in found] == values


def test_a_named_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("id;name\n1;Ada\n",))
    writer.start()
    read = Read(pipe)
    writer.join()
    assert read.payloads == [{"id": "1", "name": "Ada"}]


def test_a_sheet_that_is_cut_off_is_told(tmp_path: Path) -> None:
    whole, cut = workbook(tmp_path / "o.xlsx", ["id"], [1], [2]), tmp_path / "cut.xlsx"
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(cut, "w") as target:
        for name in archive.namelist():
            data = archive.read(name)
            target.writestr(name, data[: len(data) - 60] if "sheet1" in name else data)
    read = Read(cut)
    assert len(read.details) == 1
    assert read.details[0].startswith("cut.xlsx: is a damaged XLSX file")
