"""Keys: never the same for different values, always such that the store can hold them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchctl.errors import UsageError
from batchctl.intake.keys import LONGEST_KEY, NoKey, key_of, plain
from batchctl.intake.orders import split_fields

VALUES = st.one_of(st.text(alphabet="ab|\\ "), st.text(), st.integers(), st.floats(allow_nan=False))
PAIRS = st.tuples(VALUES, VALUES)


def key(pair: tuple[Any, ...]) -> str | None:
    record = dict(zip("xyz", pair, strict=False))
    try:
        return key_of(record, tuple(record))
    except NoKey:
        return None


@given(PAIRS, PAIRS)
def test_compound_keys_are_equal_only_for_equal_texts(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    first, second = key(one), key(other)
    if first is not None and first == second:
        assert [str(part) for part in one] == [str(part) for part in other]


@given(VALUES)
def test_a_key_is_text_that_can_be_stored(value: Any) -> None:
    found = key((value,))
    if found is not None:
        assert found
        assert "\0" not in found
        assert found.encode()


@given(st.text())
def test_the_quick_look_agrees_with_the_exact_one(text: str) -> None:
    if plain(text):
        assert key_of({"id": text}, ("id",)) == text


def test_one_field_is_the_key_as_it_is() -> None:
    assert key(("a|b\\c",)) == "a|b\\c"
    assert key(("a|b", "c\\")) == "a\\|b|c\\\\"
    assert key((17, 2.5)) == "17|2.5"


@pytest.mark.parametrize("value", ["", " ", None, True, [], {}, "a\0b", "\ud800", "x" * (LONGEST_KEY + 1)])
def test_what_can_be_no_key(value: Any) -> None:
    with pytest.raises(NoKey):
        key_of({"id": value}, ("id",))


def test_key_fields_of_the_command_line() -> None:
    assert split_fields(None) == ()
    assert split_fields("account id,uuid") == ("account id", "uuid")
    for wrong in ("", "a,", "a,a", ",", " "):
        with pytest.raises(UsageError):
            split_fields(wrong)
