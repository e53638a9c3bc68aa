"""Files: which are meant, what they are, and that they are taken as they are."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from batchctl.intake.files import FileLimits, files
from batchctl.intake.filetypes import file_type
from batchctl.intake.hashing import Unreadable, examine
from batchctl.intake.problems import Problems
from batchctl.intake.selection import Selection, given, named_in
from batchctl.model import Incoming


class Taken:
    """What a selection led to."""

    def __init__(self, *paths: str | bytes, limits: FileLimits | None = None, **rules: Any) -> None:
        self.problems = Problems()
        self.rules = Selection(**rules)
        named = given([os.fsdecode(path) for path in paths])
        chosen = self.rules.files(named, self.problems)
        self.items: list[Incoming] = list(files(chosen, limits=limits or FileLimits(), problems=self.problems))

    @property
    def keys(self) -> list[str]:
        return [item.key for item in self.items]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str, content: str = "x") -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)


def test_facts_of_a_file(here: Path) -> None:
    make("in/a.txt", content="hello\n")
    (item,) = Taken("in/a.txt").items
    assert item.file is not None
    assert json.loads(item.file) == {
        "path": str(here / "in/a.txt"),
        "name": "a.txt",
        "size": 6,
        "sha256": hashlib.sha256(b"hello\n").hexdigest(),
        "media_type": "text/plain",
    }
    assert (item.key, item.payload, item.sha256) == ("in/a.txt", "{}", hashlib.sha256(b"hello\n").hexdigest())


def test_folders_are_taken_sorted_with_keys_relative_to_them() -> None:
    make("in/b.txt", "in/a/z.txt", "in/a/c.txt", "in/c/d.txt", "single.txt")
    assert Taken("single.txt", "in", recursive=True).keys == [
        "single.txt", "b.txt", "a/c.txt", "a/z.txt", "c/d.txt",
    ]  # fmt: skip


def test_a_folder_needs_a_word() -> None:
    make("in/a.txt")
    taken = Taken("in", "nowhere", "*.pdf")
    assert not taken.items
    assert taken.problems.details() == [
        "in: is a folder; add -r to take the files in it",
        "nowhere: cannot be read: No such file or directory",
        "*.pdf: cannot be read: No such file or directory; for a glob use a folder and --pattern",
    ]


def test_hidden_and_partial_files_are_left_out() -> None:
    make("in/.hidden", "in/a.part", "in/b.TMP", "in/~$c.docx", "in/.git/config", "in/d.txt")
    taken = Taken("in", recursive=True)
    assert taken.keys == ["d.txt"]
    assert dict(taken.rules.left_out) == {"hidden": 1, "partial": 3}


def test_a_pattern_that_spells_it_means_it() -> None:
    make("in/.env", "in/a.part", "in/b.txt")
    assert Taken("in", patterns=[".*", "*.part"]).keys == [".env", "a.part"]


def test_patterns_ignore_case_and_reach_all_depths() -> None:
    make("in/A.PDF", "in/x/b.pdf", "in/x/c.txt", "in/y/d.pdf", "e.pdf", "f.txt")
    assert Taken("in", "e.pdf", "f.txt", patterns=["*.pdf"]).keys == ["A.PDF", "x/b.pdf", "y/d.pdf", "e.pdf"]
    assert Taken("in", patterns=["x/*"]).keys == ["x/b.pdf", "x/c.txt"]


def test_young_files_are_left_out() -> None:
    make("old.txt", "young.txt")
    os.utime("old.txt", (1, 1))
    taken = Taken("old.txt", "young.txt", min_age=3600)
    assert taken.keys == ["old.txt"]
    assert dict(taken.rules.left_out) == {"younger than --min-age": 1}


def test_links(here: Path) -> None:
    make("in/a.txt", "elsewhere/b.txt")
    Path("in/loop").symlink_to(here / "in")
    Path("in/more").symlink_to(here / "elsewhere")
    Path("in/c.txt").symlink_to(here / "in/a.txt")
    Path("in/dead").symlink_to(here / "nothing")
    taken = Taken("in", recursive=True)
    assert taken.keys == ["a.txt", "c.txt", "more/b.txt"]
    assert taken.problems.details() == ["in/dead: is a link to nothing"]


def test_what_is_no_file_is_refused() -> None:
    os.mkfifo("pipe")
    taken = Taken("pipe", "/dev/null")
    assert taken.problems.details() == ["pipe: is no regular file", "/dev/null: is no regular file"]


NAMES = ["-rf", "two\nlines.txt", "quo\"te's.txt", "{braces} {}.txt", "ünï.txt", " lead", "semi;colon$HOME"]


def test_strange_names_are_taken_as_they_are(here: Path) -> None:
    make(*(f"in/{name}" for name in NAMES))
    taken = Taken("in", recursive=True)
    assert sorted(taken.keys) == sorted(NAMES)
    assert {json.loads(item.file or "")["path"] for item in taken.items} == {str(here / "in" / name) for name in NAMES}


def test_a_name_that_is_not_utf8_is_escaped_and_kept_as_bytes(here: Path) -> None:
    raw = os.fsencode(here) + b"/caf\xe9.txt"
    Path(os.fsdecode(raw)).write_text("x")
    (item,) = Taken(b"caf\xe9.txt").items
    facts = json.loads(item.file or "")
    assert item.key == "caf\\xe9.txt"
    assert facts["name"] == "caf\\xe9.txt"
    assert base64.b64decode(facts["raw"]) == raw
    item.key.encode()


def test_lists_of_paths() -> None:
    problems = Problems()
    assert named_in(b"a\n\n-b\xff\n", "l", null=False, problems=problems) == [("l:1", "a"), ("l:3", "-b\udcff")]
    assert named_in(b"a\nb\0c\0", "l", null=True, problems=problems) == [("l:1", "a\nb"), ("l:2", "c")]
    assert not problems
    assert named_in(b"a\0b", "l", null=False, problems=problems) == []
    assert "add -0" in problems.details()[0]


def test_what_a_list_names_is_told_with_its_line_and_its_name() -> None:
    problems = Problems()
    named = named_in(b"gone\n\nin\n", "l", null=False, problems=problems)
    Path("in").mkdir()
    assert list(Selection().files(named, problems)) == []
    assert problems.details() == [
        "l:1: gone: cannot be read: No such file or directory",
        "l:3: in: is a folder; add -r to take the files in it",
    ]


def test_many_files_come_in_order() -> None:
    names = [f"in/{n:03}.txt" for n in range(200)]
    make(*names)
    taken = Taken("in", recursive=True)
    assert taken.keys == [Path(name).name for name in names]
    assert [item.position for item in taken.items] == list(range(1, 201))


def test_a_file_that_changes_while_it_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    make("a.log")
    digest = hashlib.file_digest

    def grow(*args: Any) -> Any:
        found = digest(*args)
        with Path("a.log").open("a") as log:
            log.write("more")
        return found

    monkeypatch.setattr(hashlib, "file_digest", grow)
    with pytest.raises(Unreadable, match="changed while it was read"):
        examine("a.log")


def write_office(path: str, folder: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(f"{folder}/document.xml", "<x/>")


def kind_of(name: str, content: bytes | None = None) -> str:
    if content is not None:
        Path(name).write_bytes(content)
    with Path(name).open("rb") as stream:
        return file_type(stream, name).media_type


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("a.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "application/pdf"),
        ("scan", b"%PDF-1.4\n1 0 obj\n", "application/pdf"),
        ("a.pdf", b"this is no pdf", "text/plain"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        ("a.png", b"\0\1\2\3", "application/octet-stream"),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", "image/jpeg"),
        ("a.csv", b"id,name\n1,x\n", "text/csv"),
        ("a.csv", b"BM,id\n1,x\n", "text/csv"),
        ("a.CSV", b"id;n\xe4me\n", "text/csv"),
        ("a.csv", b"\0\1\2", "application/octet-stream"),
        ("a.json", b'{"a": 1}', "application/json"),
        ("a.yaml", b"a: 1\n", "application/yaml"),
        ("README", b"just text\n", "text/plain"),
        ("a.dat", b"\0\xfe\1\2\3", "application/octet-stream"),
        ("a.txt", b"", "application/x-empty"),
        ("a.zip", b"PK\x03\x04 broken", "application/zip"),
    ],
)
def test_types_by_content(name: str, content: bytes, media_type: str) -> None:
    assert kind_of(name, content) == media_type


def test_office_files_are_told_apart() -> None:
    write_office("a.docx", "word")
    write_office("b.zip", "ppt")
    with zipfile.ZipFile("c.docx", "w") as archive:
        archive.writestr("a.txt", "x")
    with zipfile.ZipFile("d.odt", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
    openpyxl.Workbook().save("e.xlsx")
    office = "application/vnd.openxmlformats-officedocument"
    assert kind_of("a.docx") == f"{office}.wordprocessingml.document"
    assert kind_of("b.zip") == f"{office}.presentationml.presentation"
    assert kind_of("c.docx") == "application/zip"
    assert kind_of("d.odt") == "application/vnd.oasis.opendocument.text"
    assert kind_of("e.xlsx") == f"{office}.spreadsheetml.sheet"


def test_limits_are_told_with_what_they_are() -> None:
    Path("a.pdf").write_bytes(b"%PDF-1.7\n")
    Path("b.pdf").write_bytes(b"no pdf")
    Path("c.csv").write_bytes(b"a,b\n1,2\n")
    Path("d.pdf").write_bytes(b"%PDF-1.7\n" + b"x" * 100)
    limits = FileLimits("menus", ("pdf", "text/csv"), 50)
    taken = Taken("a.pdf", "b.pdf", "c.csv", "d.pdf", limits=limits)
    assert taken.keys == ["a.pdf", "c.csv"]
    assert taken.problems.details() == [
        "b.pdf: is text/plain by its content, but menus accepts only pdf, text/csv (types)",
        "d.pdf: has 109 bytes, but menus accepts at most 50 (max_file_size)",
    ]
