"""GNU parallel's placeholders."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchctl.intake.placeholders import MissingField, expand, missing
from batchctl.model import BatchKind, BatchRef, FileRef, Item

BATCH = BatchRef("b0", None, None, None, BatchKind.ORDERS, 0, 1)


def order(payload: dict[str, Any], key: str = "k/17.a") -> Item:
    return Item(1, BATCH, "inline:x", key, 7, json.dumps(payload), None, "i", 1, 1)


def file(path: str, key: str, folder: str = "/work") -> Item:
    ref = FileRef(path, path.rpartition("/")[2], 1, "0", "text/plain")
    definition = json.dumps({"command": [], "folder": folder})
    return Item(1, BATCH, "inline:x", key, 3, "{}", ref, "i", 1, 1, definition=definition)


@pytest.mark.parametrize(
    ("word", "gives"),
    [
        ("{}", "in/a.b/menu.v2.pdf"),
        ("{.}", "in/a.b/menu.v2"),
        ("{/}", "menu.v2.pdf"),
        ("{//}", "in/a.b"),
        ("{/.}", "menu.v2"),
        ("{#}", "3"),
        ("{.}-{#}.txt", "in/a.b/menu.v2-3.txt"),
        ("--in={}", "--in=in/a.b/menu.v2.pdf"),
    ],
)
def test_files(word: str, gives: str) -> None:
    item = file("/work/in/a.b/menu.v2.pdf", "in/a.b/menu.v2.pdf")
    assert expand(["do", word], item) == ["do", gives]


def test_without_any_the_path_or_key_is_appended() -> None:
    assert expand(["gzip", "-k"], file("/work/a", "a")) == ["gzip", "-k", "a"]
    assert expand(["echo"], order({"id": 1}, "k")) == ["echo", "k"]


@pytest.mark.parametrize("word", ["{print $1}", '{"a": 1}', "${HOME}", "{}}", "{a,b}", "{1..3}", "{ }"])
def test_other_braces_stay(word: str) -> None:
    words = expand(["x", word, "{#}"], order({"id": 1}))
    assert words[1] == word.replace("{}", "k/17.a")


def test_files_have_no_fields() -> None:
    assert expand(["x", "{name}", "{}"], file("/work/a", "a")) == ["x", "{name}", "a"]


def test_a_folders_file_is_named_by_its_whole_path() -> None:
    assert expand(["x"], file("/work/inbox/a.pdf", "a.pdf")) == ["x", "/work/inbox/a.pdf"]


def test_a_name_that_begins_with_a_dash_is_no_option() -> None:
    assert expand(["x"], file("/work/-rf", "-rf")) == ["x", "./-rf"]
    assert expand(["x", "{}"], file("/work/-rf", "./-rf")) == ["x", "./-rf"]


def test_names_that_are_not_utf8_survive() -> None:
    assert expand(["x"], file("/work/caf\udce9", "caf\\xe9")) == ["x", "/work/caf\udce9"]


def test_fields_of_orders() -> None:
    item = order({"Order No": "00123", "n": 5, "x": None, "l": [1, "ü"], "t": True, "{": 1, "a.b": "dot"})
    words = ["{Order No}", "{n}{x}", "{l}", "{t}", "{a.b}", "{.}"]
    assert expand(words, item) == ["00123", "5", '[1, "ü"]', "true", "dot", "k/17"]


def test_a_missing_field_is_told() -> None:
    assert missing(["{id}", "{nam} {nam}", "{}", "${HOME}", "{print $1}"], {"id": 1}) == ["nam"]
    with pytest.raises(MissingField, match="nam"):
        expand(["{nam}"], order({"id": 1}))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}\0")), st.text(alphabet="ab{}/.#$ "))
def test_a_value_is_put_in_as_it_is(before: str, value: str) -> None:
    item = order({"v": value})
    assert expand([f"{before.rstrip('$')}{{v}}"], item) == [before.rstrip("$") + value]
