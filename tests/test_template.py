"""What templates and expressions see, give, and refuse."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchctl.errors import ConfigError
from batchctl.model import BatchKind, BatchRef, FileRef, Item
from batchctl.template import FILE_NAMES, Filled, Template, TemplateError, Text, expression, scope

BATCH = BatchRef("b123456789abc", "october", "acme", "jo@example.com", BatchKind.ORDERS, 1_772_330_400_000, 500)
NAMES: dict[str, Any] = {
    "id": 7,
    "none": None,
    "yes": True,
    "order": {"street": "Long Lane", "items": [{"sku": "A"}], "keys": 3},
    "name": "Jo",
    "link": "https://x/é?a=b c",
}


def render(source: Any, **options: Any) -> Any:
    return Template(source, where="here", **options).render(NAMES)


def item(payload: dict[str, Any], file: FileRef | None = None) -> Item:
    return Item(
        number=12, batch=BATCH, processor="p", key="K-1", position=1, raw_payload=json.dumps(payload),
        file=file, idempotency_key="idem", claim_no=1, attempt=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("plain", "plain"),
        ("{{ id }}", 7),
        (" {{ id }}\n", 7),
        ("{{ none }}", None),
        ("{{ order }}", NAMES["order"]),
        ("{{ order.items }}", [{"sku": "A"}]),
        ("{{ order.items[0].sku }}", "A"),
        ("{{ order['street'] }}", "Long Lane"),
        ("{{ id + 1 }}", 8),
        ("{{ id > 5 and yes }}", True),
        ("{{ [id, name] }}", [7, "Jo"]),
        ("{{ name.upper() }}", "JO"),
        ("no {{ id }}", "no 7"),
        ("{{ name }}{{ id }}", "Jo7"),
        ("<{{ none }}|{{ yes }}|{{ order.items }}>", '<|true|[{"sku": "A"}]>'),
        ("<{{ none or '' }}|{{ not yes }}>", "<|false>"),
        ("{% for i in order.items %}{{ i.sku }};{% endfor %}", "A;"),
        ("{{ order|tojson }}", '{"street": "Long Lane", "items": [{"sku": "A"}], "keys": 3}'),
        ("{{ '<&>'|tojson }}", '"<&>"'),
        ("{{ 'a:b'|b64encode }}", "YTpi"),
        ("{{ missing|default('x') }}", "x"),
        ("ends with a line\n{{ id }}\n", "ends with a line\n7\n"),
        ("{# nothing #}", ""),
        ("100% } }} {", "100% } }} {"),
        (5, 5),
        (None, None),
        ({"a": "{{ id }}", "b": ["{{ none }}", 1, {"c": "x{{ id }}"}]}, {"a": 7, "b": [None, 1, {"c": "x7"}]}),
        ({"{{ name }}": 1}, {"Jo": 1}),
    ],
)
def test_rendering(source: Any, value: Any) -> None:
    assert render(source) == value
    assert type(render(source)) is type(value)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://x/{{ link }}", "https://x/https%3A%2F%2Fx%2F%C3%A9%3Fa%3Db%20c"),
        ("{{ link }}", "https%3A%2F%2Fx%2F%C3%A9%3Fa%3Db%20c"),
        ("{{ link|safe }}", "https://x/é?a=b c"),
        ("https://x/a b/{{ name|upper }}/{{ order.street|urlencode }}", "https://x/a b/JO/Long%20Lane"),
        ("https://x/{{ none }}/{{ yes }}", "https://x//true"),
    ],
)
def test_values_in_a_url_are_percent_encoded(source: str, url: str) -> None:
    assert render(source, url=True) == url


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{{ nope }}", "nope"),
        ("x{{ nope }}", "nope"),
        ("{{ nope|int }}", "nope"),
        ("{{ order.nope }}", "order.nope"),
        ("{{ name.nope }}", "name.nope"),
        ("{{ [nope] }}", "nope"),
        ("{{ order.nope|upper }}", "nope"),
        ({"deep": ["{{ nope }}"]}, "nope"),
    ],
)
def test_a_missing_name_is_an_error_that_names_it(source: Any, name: str) -> None:
    with pytest.raises(TemplateError, match=rf"^here.*: `{name}` is missing$") as caught:
        render(source)
    assert caught.value.name == name


@pytest.mark.parametrize(
    "source", ["{{ id / 0 }}", "{{ id.__class__.__mro__ }}", "{{ name + 1 }}", "{{ order.update({}) }}"]
)
def test_what_goes_wrong_otherwise(source: str) -> None:
    with pytest.raises(TemplateError, match=r"^here: "):
        render(source)


@pytest.mark.parametrize(
    "source", ["{{ a b }}", "{% if %}", "{{ x|nofilter }}", "{{ x ", "{% endfor %}", {"a": ["{{ }}"]}]
)
def test_wrong_syntax_is_told_when_it_is_compiled(source: Any) -> None:
    with pytest.raises(ConfigError, match=r"^here.*: this template is wrong: "):
        Template(source, where="here")


def filled(*parts: str | tuple[str, str]) -> Text:
    return Text([p if isinstance(p, str) else Filled(p[0], p[1]) for p in parts])


HOSTILE = """{{ id }} {% raw %} '"\\ }} {#"""


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (filled("Bearer ", (HOSTILE, "${T}")), f"Bearer {HOSTILE}"),
        (filled("Bearer ", (HOSTILE, "${T}"), " {{ id }}"), f"Bearer {HOSTILE} 7"),
        (filled("{{ id + 1 }} ", (HOSTILE, "${T}")), f"8 {HOSTILE}"),
        (filled("{{ '", (HOSTILE, "${T}"), "' }}"), HOSTILE),
        (filled("{{ ", (HOSTILE, "${T}"), " ~ id }}"), f"{HOSTILE}7"),
        (filled("{{ name if '", ("x", "${T}"), "' == 'x' else 1 }}"), "Jo"),
    ],
)
def test_what_was_filled_in_is_never_a_template(source: Text, value: str) -> None:
    assert render(source) == value
    assert type(render(source)) is str
    assert Template(source, where="here").missing({"id": 1, "name": 1}, ()) == []


@given(st.text())
def test_any_secret_comes_out_as_it_is(secret: str) -> None:
    source = Text(["<", Filled(secret, "${S}"), "|{{ id }}|{{ id * 2 }}>"])
    assert render(source) == f"<{secret}|7|14>"


def test_a_syntax_error_does_not_tell_the_secret() -> None:
    source = filled("{{ ", ("hunter2", "${T}"), " ", ("hunter3", "${U}"), " }}")
    with pytest.raises(ConfigError) as caught:
        Template(source, where="here")
    assert "${U}" in caught.value.message
    assert "hunter" not in caught.value.message


def test_filled_text_survives_pickling() -> None:
    source = filled("a", ("b", "${B}"))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    assert copy == source == "ab"
    assert copy.parts == source.parts


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("constant", []),
        ("{{ id }} {{ uuid }} {{ nope }}", ["nope", "uuid"]),
        ({"a": "{{ uuid }}", "b": "{{ uuid }}"}, ["uuid"]),
        ("{{ order.street }}", []),
        ("{{ order.town }}", ["order.town"]),
        ("{{ order['town'] }}", ["order.town"]),
        ("{{ name.upper() }}", []),
        ("{{ order.items[0].sku }}", []),
        ("{{ uuid|default('') }}", []),
        ("{{ uuid|default(nope) }}", ["nope"]),
        ("{% if uuid is defined %}{{ uuid }}{% endif %}", []),
        ("{{ uuid if id == 1 else name }}", []),
        ("{{ uuid if id == 7 else name }}", ["uuid"]),
        ("{{ id or uuid }}", []),
        ("{{ none or uuid }}", ["uuid"]),
        ("{% for i in order.items %}{{ i.sku }}{% endfor %}", []),
        ("{% for i in order.items %}{{ i.price }}{% endfor %}", ["price"]),
        ("{% set x = id %}{{ x }}", []),
        ("{{ key }} {{ attempt + 1 }} {{ now }} {{ idempotency_key[:3] }}", []),
        ("{{ steps.ocr.text|length > 3 }}", []),
        ("{{ secrets.workiz[account] }}", ["account"]),
        ("{{ batch.user }} {{ item.number }}", []),
        ("{{ batch.usr }}", ["batch.usr"]),
        ("{{ item.payload['Order No'] }}", ["item.payload.Order No"]),
        ("{{ item.payload['id'] }}", []),
        ("{{ range(3)|list }}", []),
        ("{{ path }} {{ size > 10 }}", ["path", "size"]),
    ],
)
def test_missing_names_are_found_beforehand(source: Any, missing: list[str]) -> None:
    assert sorted(Template(source, where="here").missing(NAMES, ())) == missing


def test_names_of_files_are_known_where_the_item_is_a_file() -> None:
    template = Template("{{ path }} {{ size > 10 }} {{ stem if suffix == '.pdf' else dir }}", where="here")
    assert template.missing({}, FILE_NAMES) == []
    assert not template.constant


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("status in (201, 409)", True),
        ("{{ status in (201, 409) }}", True),
        ("body", {"flag": False}),
        ("{{ body }}", {"flag": False}),
        ("body.flag", False),
        ("headers['X-Id'] ~ status", "a201"),
        ("'}' ~ '}'", "}}"),
        (True, True),
        ({"id": "{{ status }}"}, {"id": 201}),
    ],
)
def test_expressions(source: Any, value: Any) -> None:
    names = {"status": 201, "headers": {"X-Id": "a"}, "body": {"flag": False}}
    assert expression(source)(names) == value


def test_an_expression_over_what_is_not_there() -> None:
    with pytest.raises(TemplateError, match=r"`body\.flag` is missing"):
        expression("body.flag")({"body": {}})
    with pytest.raises(ConfigError, match="success: this template is wrong"):
        expression("status in (", where="success")


def test_the_scope_of_an_order() -> None:
    names = scope(
        item({"key": "mine", "batch": "shadowed", "path": "/a"}), secrets={"s": 1}, steps={}, now=1_772_330_400_000
    )
    assert names["key"] == "mine"
    assert names["path"] == "/a"
    assert names["batch"]["user"] == "jo@example.com"
    assert names["item"] == {
        "number": 12,
        "key": "K-1",
        "payload": item(names).payload["item"]["payload"],
        "file": None,
    }
    assert (names["attempt"], names["idempotency_key"], names["now"]) == (2, "idem", "2026-03-01T02:00:00Z")
    assert "size" not in names


def test_the_scope_of_a_file() -> None:
    file = FileRef("/in/menu.v2.pdf", "menu.v2.pdf", 10, "abc", "application/pdf")
    names = scope(item({}, file), secrets={}, steps={}, now=0)
    assert names["key"] == "K-1"
    seen = Template("{{ dir }} {{ stem }} {{ suffix }} {{ name }} {{ size }} {{ sha256 }}", where="w").render(names)
    assert seen == "/in menu.v2 .pdf menu.v2.pdf 10 abc"
    assert names["item"]["file"]["media_type"] == "application/pdf"


def test_plain_lookups_do_not_import_jinja() -> None:
    code = (
        "import sys; from batchctl.template import Template\n"
        "assert Template({'a': 'x{{ a.b }}'}, where='w').render({'a': {'b': 1}}) == {'a': 'x1'}\n"
        "assert 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
