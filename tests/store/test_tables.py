"""Users' tables on every engine: made from the data, grown with it; what does not fit harms no neighbour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from batchctl.engines.base import Engine
from batchctl.engines.tables import Target, Unusable, put

Peek = Callable[..., list[tuple[Any, ...]]]
JOBS = Target("jobs", ("id",))


def store(engine: Engine, *items: Sequence[dict[str, Any]], target: Target = JOBS) -> list[str | None]:
    with engine.write(shared=True) as tx:
        return put(tx.tables, target, items)


def test_the_table_is_made_and_grows_with_the_data(engine: Engine, peek: Peek) -> None:
    assert store(engine, [{"id": "a", "n": 1}], [], [{"id": "b", "text": "x"}, {"id": "c"}]) == [None, None, None]
    assert store(engine, [{"id": "a", "new": True}]) == [None]
    assert peek("SELECT id, n, text, new FROM jobs ORDER BY id") == [
        ("a", 1, None, True),
        ("b", None, "x", None),
        ("c", None, None, None),
    ]


def test_a_row_that_comes_again_changes_what_it_has(engine: Engine, peek: Peek) -> None:
    store(engine, [{"id": 1, "a": "x", "b": "y"}])
    store(engine, [{"id": 1, "b": "z"}])
    assert peek("SELECT id, a, b FROM jobs") == [(1, "x", "z")]


def test_whole_numbers_are_followed_by_fractions(engine: Engine, peek: Peek) -> None:
    store(engine, [{"id": 1, "price": 10}])
    assert store(engine, [{"id": 2, "price": 10.5}]) == [None]
    assert [float(price) for (price,) in peek("SELECT price FROM jobs ORDER BY id")] == [10, 10.5]


def test_text_stays_text(engine: Engine, peek: Peek) -> None:
    store(engine, [{"id": "1", "code": "00123"}])
    assert peek("SELECT id, code FROM jobs") == [("1", "00123")]


def test_nested_values_are_json(engine: Engine, peek: Peek) -> None:
    store(engine, [{"id": 1, "tags": ["é", {"a": None}]}])
    assert peek("SELECT CAST(tags AS TEXT) FROM jobs") == [('["é", {"a": null}]',)]


@pytest.mark.parametrize(
    "bad",
    [
        [{"id": 2, "n": "many", "note": "\ud800"}],
        [{"id": 2}, {"id": 3, "note": "\ud800"}],
        [{"id": 2, "x" * 70: 1, "X" * 70: 2}],
        [{"id": 2, **{f"c{number}": 1 for number in range(2100)}}],
    ],
)
def test_what_does_not_fit_fails_alone(engine: Engine, peek: Peek, bad: list[dict[str, Any]]) -> None:
    good = [[{"id": number, "note": "fine"}] for number in (1, *range(10, 15))]
    problems = store(engine, good[0], bad, *good[1:])
    assert [number for number, problem in enumerate(problems) if problem] == [1]
    assert [number for (number,) in peek("SELECT id FROM jobs ORDER BY id")] == [1, 10, 11, 12, 13, 14]


def test_a_users_own_rules_hold_for_each_row(engine: Engine, peek: Peek, database: Any) -> None:
    database.change("CREATE TABLE jobs (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n > 0))")
    assert [bool(one) for one in store(engine, [{"id": 1, "n": 1}], [{"id": 2, "n": -1}], [{"id": 3}])] == [0, 1, 1]
    assert peek("SELECT id, n FROM jobs") == [(1, 1)]


def test_several_columns_can_be_the_key(engine: Engine, peek: Peek) -> None:
    target = Target("jobs", ("account", "id"), (("name",), ("account", "name")))
    rows = [{"account": 1, "id": 1, "name": "a"}, {"account": 2, "id": 1, "name": "b"}]
    assert store(engine, rows, target=target) == [None]
    assert store(engine, [{"account": 2, "id": 1, "name": "c"}], target=target) == [None]
    assert peek("SELECT account, id, name FROM jobs ORDER BY account") == [(1, 1, "a"), (2, 1, "c")]


def test_a_table_without_that_key_takes_nothing(engine: Engine, database: Any) -> None:
    database.change("CREATE TABLE jobs (id INTEGER, n INTEGER)")
    with pytest.raises(Unusable, match="neither its primary key nor unique"):
        store(engine, [{"id": 1}])


def test_a_view_takes_nothing(engine: Engine, database: Any) -> None:
    database.change("CREATE VIEW jobs AS SELECT 1 AS id")
    with pytest.raises(Unusable, match="no table"):
        store(engine, [{"id": 1}])


def test_odd_names_are_names(engine: Engine, peek: Peek) -> None:
    assert store(engine, [{"id": 1, 'Order "No"': "7", "select": 1, "a; DROP TABLE items": 2}]) == [None]
    assert peek('SELECT "Order ""No""", "select" FROM jobs') == [("7", 1)]
    assert peek("SELECT count(*) FROM items") == [(0,)]


def test_a_failed_transaction_leaves_nothing(engine: Engine, peek: Peek) -> None:
    store(engine, [{"id": 1}])

    def fail() -> None:
        with engine.write() as tx:
            put(tx.tables, JOBS, [[{"id": 2, "more": 1}]])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert peek("SELECT * FROM jobs") == [(1,)]
