"""The example of the README: orders become invoices, each with one number, and the sums are right to the cent."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from batchctl import Permanent
from invoicing.amounts import compute
from invoicing.handler import handle
from invoicing.order import InvalidOrderError, Order, parse
from invoicing.pdf import render
from invoicing.register import OrderChangedError, Register

EXAMPLE = Path(__file__).parent.parent / "examples" / "bulk-invoices"
DAY = date(2026, 11, 22)


def lines(*entries: dict[str, str]) -> str:
    plain = {"sku": "A-1", "text": "Lamp", "quantity": "1", "price": "10.00", "tax": "standard"}
    return json.dumps([plain | entry for entry in entries or ({},)])


def row(**changes: str) -> dict[str, Any]:
    """A correct order as the queue hands it over."""
    return {
        "order_id": "ORD-1",
        "organization": "nordlicht",
        "user": "a.lindner@nordlicht.example",
        "ordered_on": "2026-10-14",
        "customer": "Księgarnia Pod Żółwiem",
        "contact": "Łukasz Błaszczyk",
        "email": "l@x.example",
        "street": "ul. Długa 3",
        "postcode": "80-831",
        "city": "Gdańsk",
        "country": "Poland",
        "vat_id": "PL123",
        "currency": "EUR",
        "payment_days": "14",
        "lines": lines(),
    } | changes


def orders(name: str = "orders.csv") -> list[dict[str, str]]:
    with (EXAMPLE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass
class Item:
    payload: dict[str, Any]


@dataclass
class Context:
    """What the handler tells the queue."""

    logged: list[str] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)

    def log(self, text: str) -> None:
        self.logged.append(text)

    def artifact(self, path: Path) -> None:
        self.artifacts.append(path)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INVOICES_DIR", str(tmp_path / "out"))
    return tmp_path / "out"


def reasons(**changes: str) -> list[str]:
    with pytest.raises(InvalidOrderError) as caught:
        parse(row(**changes))
    return caught.value.reasons


# the orders


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_orders", EXAMPLE / "make_orders.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_orders_are_what_the_generator_writes(tmp_path: Path) -> None:
    generator().write_all(tmp_path)
    for name in ("orders.csv", "corrected.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes(), name


def test_the_orders_are_many_and_their_ids_unique() -> None:
    rows = orders()
    assert len(rows) == len({entry["order_id"] for entry in rows}) == 500
    assert len({entry["organization"] for entry in rows} - {"nordlicht-alt"}) == 4
    assert len({entry["user"] for entry in rows}) == 10


def test_fourteen_orders_are_wrong_and_their_corrections_are_right() -> None:
    wrong = []
    for entry in orders():
        try:
            parse(entry)
        except InvalidOrderError:
            wrong.append(entry["order_id"])
    corrected = [parse(entry).order_id for entry in orders("corrected.csv")]
    assert wrong == corrected
    assert len(wrong) == 14


# validation


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"customer": "  "}, "customer is missing"),
        ({"organization": "acme"}, "organization 'acme' is not known"),
        ({"ordered_on": "2026-02-30"}, "ordered_on '2026-02-30' is not a date (YYYY-MM-DD)"),
        ({"currency": "USD"}, "currency 'USD': Nordlicht Büroausstattung GmbH invoices in EUR"),
        ({"email": "nobody"}, "email 'nobody' is not an address"),
        ({"payment_days": "soon"}, "payment_days 'soon' is not a number of days from 0 to 365"),
        ({"lines": "[]"}, "the order has no lines"),
        ({"lines": lines({"quantity": "-2"})}, "line 1: quantity must be more than 0, not -2"),
        ({"lines": lines({}, {"price": "1O.50"})}, "line 2: price '1O.50' is not a decimal number"),
        ({"lines": lines({"price": "1e3"})}, "line 1: price '1e3' is not a decimal number"),
        ({"lines": lines({"price": "NaN"})}, "line 1: price 'NaN' is not a decimal number"),
        ({"lines": lines({"price": "1.00001"})}, "line 1: price '1.00001' has more than 4 decimals"),
        ({"lines": lines({"discount": "101"})}, "line 1: discount must be from 0 to 100 percent, not 101"),
        (
            {"lines": lines({"tax": "luxury"})},
            "line 1: tax class 'luxury' is not one of standard, reduced, zero, reverse-charge",
        ),
        (
            {"vat_id": "", "lines": lines({"tax": "reverse-charge"})},
            "vat_id is missing, and reverse charge needs one",
        ),
        ({"lines": '["lamp"]'}, "line 1: is not an object"),
    ],
)
def test_a_wrong_order_says_why(changes: dict[str, str], reason: str) -> None:
    assert reasons(**changes) == [reason]


def test_every_reason_is_told_at_once() -> None:
    found = reasons(customer="", city="", lines=lines({"quantity": "0", "tax": ""}))
    assert found == [
        "customer is missing",
        "city is missing",
        "line 1: tax is missing",
        "line 1: quantity must be more than 0, not 0",
    ]


def test_lines_that_are_not_json_say_where() -> None:
    assert reasons(lines='[{"sku": }]') == ["lines is not JSON: Expecting value: line 1 column 10 (char 9)"]


def test_numbers_in_json_lines_stay_exact() -> None:
    entry = '[{"text": "Screws", "quantity": 1000, "price": 0.0845, "tax": "standard"}]'
    assert parse(row(lines=entry)).lines[0].price == Decimal("0.0845")


# sums


def priced(*entries: dict[str, str], **changes: str) -> Order:
    return parse(row(lines=lines(*entries), **changes))


def test_half_a_cent_rounds_up() -> None:
    amounts = compute(priced({"quantity": "1", "price": "0.005"}, {"quantity": "3", "price": "0.115"}))
    assert amounts.line_nets == (Decimal("0.01"), Decimal("0.35"))


def test_the_tax_is_taken_once_from_the_sum_of_its_rate() -> None:
    # 19% of 0.03 is 0.0057: a cent for each line would be three cents on nine
    amounts = compute(priced(*[{"price": "0.03"}] * 3))
    assert (amounts.net, amounts.tax, amounts.total) == (Decimal("0.09"), Decimal("0.02"), Decimal("0.11"))


def test_discounts_and_rates() -> None:
    amounts = compute(
        priced(
            {"quantity": "3", "price": "129.90", "discount": "5"},
            {"quantity": "2", "price": "24.00", "tax": "reduced"},
            {"quantity": "2.5", "price": "48.1234", "tax": "reverse-charge"},
        )
    )
    assert amounts.line_nets == (Decimal("370.22"), Decimal("48.00"), Decimal("120.31"))
    assert [(entry.rate, entry.tax) for entry in amounts.taxes] == [
        (Decimal(19), Decimal("70.34")),
        (Decimal(7), Decimal("3.36")),
        (Decimal(0), Decimal("0.00")),
    ]
    assert amounts.total == Decimal("612.23")


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "quantity": st.decimals("0.001", "9999", places=3).map(str),
                "price": st.decimals("0", "9999", places=4).map(str),
                "discount": st.decimals("0", "100", places=2).map(str),
                "tax": st.sampled_from(["standard", "reduced", "zero"]),
            }
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_printed_adds_up(entries: list[dict[str, str]]) -> None:
    amounts = compute(priced(*entries))
    assert sum(amounts.line_nets) == amounts.net == sum(entry.net for entry in amounts.taxes)
    assert amounts.net + sum(entry.tax for entry in amounts.taxes) == amounts.total
    assert all(value == round(value, 2) for value in (amounts.net, amounts.tax, amounts.total))


# the register


def allot(path: Path, order_id: str, *, content: str = "same", day: date = DAY) -> str:
    with Register(path) as register:
        return register.allot("nordlicht", order_id, "NL", content, day).number


def test_numbers_run_without_gaps_however_many_ask_at_once(tmp_path: Path) -> None:
    path = tmp_path / "register.db"
    allot(path, "0")
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda number: allot(path, str(number % 40)), range(80)))
    assert set(numbers) == {f"NL-2026-{number:05d}" for number in range(1, 41)}
    assert numbers[:40] == numbers[40:]


def test_each_year_begins_anew_and_an_old_order_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "register.db"
    assert allot(path, "a") == "NL-2026-00001"
    assert allot(path, "b", day=date(2027, 1, 1)) == "NL-2027-00001"
    assert allot(path, "a", day=date(2027, 1, 1)) == "NL-2026-00001"


def test_an_order_that_changed_after_its_invoice_is_refused(tmp_path: Path) -> None:
    allot(tmp_path / "register.db", "a")
    with pytest.raises(OrderChangedError, match="order a was invoiced as NL-2026-00001 with other content"):
        allot(tmp_path / "register.db", "a", content="other")


# the handler


def pages(path: Path) -> list[str]:
    return [page.extract_text() for page in PdfReader(path).pages]


def test_an_order_becomes_an_invoice(out: Path) -> None:
    context = Context()
    answer = handle(Item(row()), context)
    path = out / "invoices" / "nordlicht" / f"{answer['invoice']}.pdf"
    assert context.artifacts == [path]
    assert answer["pdf"] == str(path)
    assert (answer["net"], answer["tax"], answer["total"]) == ("10.00", "1.90", "11.90")
    (text,) = pages(path)
    for expected in ("Księgarnia Pod Żółwiem", "80-831 Gdańsk", "POLAND", answer["invoice"], "EUR 11.90"):
        assert expected in text
    assert "VAT 19% on 10.00" in text
    assert "Page 1 of 1" in text
    assert list(path.parent.iterdir()) == [path]


def test_a_second_try_gives_the_same_number_and_the_same_bytes(out: Path) -> None:
    first = handle(Item(row()), Context())
    path = Path(first["pdf"])
    content = path.read_bytes()
    assert handle(Item(row()), Context()) == first
    path.unlink()
    assert handle(Item(row()), Context()) == first
    assert path.read_bytes() == content
    assert out.is_dir()


def test_a_crash_between_number_and_pdf_loses_neither(out: Path) -> None:
    answer = handle(Item(row()), Context())
    Path(answer["pdf"]).write_bytes(b"%PDF-1.3 torn")
    with sqlite3.connect(out / "register.db") as register:
        register.execute("UPDATE invoices SET pdf_sha256 = NULL")
    register.close()
    assert handle(Item(row()), Context()) == answer
    assert "Page 1 of 1" in pages(Path(answer["pdf"]))[0]


def test_a_wrong_order_fails_for_good_and_takes_no_number(out: Path) -> None:
    with pytest.raises(Permanent, match="customer is missing; line 1: quantity must be more than 0"):
        handle(Item(row(customer="", lines=lines({"quantity": "0"}))), Context())
    assert handle(Item(row()), Context())["invoice"].endswith("-00001")
    assert out.is_dir()


def test_letters_that_the_typeface_lacks_are_told_not_printed_as_boxes(out: Path) -> None:
    with pytest.raises(Permanent, match="customer: the typeface lacks 株式"):
        handle(Item(row(customer="株式 Lamp")), Context())
    assert not (out / "register.db").exists()


def test_a_long_order_goes_on_on_the_next_page_and_loses_no_line(tmp_path: Path) -> None:
    texts = [f"Position {number}: " + "a description that has to wrap " * 4 for number in range(1, 41)]
    order = priced(*[{"text": text} for text in texts])
    path = tmp_path / "long.pdf"
    path.write_bytes(render(order, compute(order), "NL-2026-00001", DAY))
    found = pages(path)
    assert len(found) > 2
    for number, page in enumerate(found, 1):
        assert f"Page {number} of {len(found)}" in page
    for number in range(1, 41):
        assert sum(f"Position {number}:" in page for page in found) == 1
    assert "Total" in found[-1]


# the whole way


def test_the_queue_drains_orders_into_invoices(cli: Cli) -> None:
    shutil.copytree(EXAMPLE / "invoicing", cli.folder / "invoicing", ignore=shutil.ignore_patterns("__pycache__"))
    cli.config((EXAMPLE / "batchctl.yaml").read_text(encoding="utf-8"))
    batch = cli.json("enqueue", "orders", EXAMPLE / "orders.csv", "--limit", "24")["batch"]
    assert batch["total_items"] == 24
    assert cli.run("run", "-j", "2").returncode == 1
    shown = cli.json("show", "latest", "--items", "failed")
    assert shown["batch"]["completed_items"] == 23
    assert [entry["error"]["message"] for entry in shown["items"]] == ["customer is missing"]
    assert len(list((cli.folder / "out" / "invoices").rglob("*.pdf"))) == 23
    (mended,) = [entry for entry in orders("corrected.csv") if entry["order_id"] == "ORD-10023"]
    (cli.folder / "mended.json").write_text(json.dumps([mended]), encoding="utf-8")
    cli.ok("retry", "latest", "--data", "mended.json", "--run")
    assert cli.json("show", "latest")["batch"]["status"] == "completed"
    assert len(list((cli.folder / "out" / "invoices").rglob("*.pdf"))) == 24
