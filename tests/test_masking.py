"""No secret gets through, however it is written; nothing else changes."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchctl.masking import Masker

PHRASE = 'p&ss "wörd"/+\\1'


@pytest.mark.parametrize(
    "written",
    [
        PHRASE,
        quote(PHRASE),
        quote(PHRASE, safe=""),
        quote_plus(PHRASE),
        json.dumps(PHRASE),
        json.dumps(PHRASE, ensure_ascii=False),
        repr(PHRASE),
        base64.b64encode(PHRASE.encode()).decode(),
        base64.urlsafe_b64encode(PHRASE.encode()).decode(),
    ],
)
def test_every_way_to_write_it(written: str) -> None:
    masked = Masker([PHRASE])(f"before {written} after")
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert written.strip("\"'=") not in masked


@pytest.mark.parametrize("user", ["a", "ab", "abc", "abcd"])
def test_within_basic_auth(user: str) -> None:
    """Base64 of `user:password` shows the password's own base64 nowhere, but for what is stable of it."""
    header = base64.b64encode(f"{user}:hunter2-hunter2".encode()).decode()
    masked = Masker(["hunter2-hunter2"])(f"Authorization: Basic {header}")
    assert "***" in masked
    left = masked.removeprefix("Authorization: Basic ").split("***")
    assert b"hunter2" not in base64.b64decode(left[0] + "=" * (-len(left[0]) % 4))


@given(st.text(st.characters(exclude_characters="*"), min_size=4), st.text(), st.text())
def test_the_value_itself_never_stays(value: str, before: str, after: str) -> None:
    assume(value.lower() not in {"true", "false", "null", "none", "http", "https", "localhost", "post"})
    assert value not in Masker([value])(before + value + after)


def test_other_text_is_the_same_object() -> None:
    text = "nothing to see " * 1000
    assert Masker(["hunter2"])(text) is text
    assert Masker()(text) is text
    assert Masker().empty


def test_short_values_and_plain_words_are_left_alone() -> None:
    assert Masker(["abc", "true", "", "no"])("abc true no") == "abc true no"


def test_the_longest_secret_wins() -> None:
    assert Masker(["hunter2", "hunter2000", "hunt"])("x hunter2000 y hunter2 z hunting") == "x *** y *** z ***ing"


def test_a_key_of_several_lines_is_masked_line_by_line() -> None:
    key = "-----BEGIN-----\nMIIEpAIBAAKCAQEA\nq83vEjRWeJ8=\n-----END-----\n"
    masked = Masker([key])("error near MIIEpAIBAAKCAQEA, then q83vEjRWeJ8=")
    assert masked == "error near ***, then ***"
    assert Masker([key])(f"<{key.strip()}>") == "<***>"


def test_a_thousand_secrets() -> None:
    secrets = [f"key-{n:05d}-{n * 7919 % 100003:05d}" for n in range(1000)]
    text = "line without, then one: " * 50 + secrets[700]
    assert Masker(secrets)(text).endswith("one: ***")


def test_structures() -> None:
    masker = Masker(["hunter2"])
    assert masker.value({"a": ["x hunter2"], "hunter2": 1, "n": None}) == {"a": ["x ***"], "***": 1, "n": None}
    assert masker.mask("hunter2") == "***"
    assert masker.longest >= len("hunter2")
