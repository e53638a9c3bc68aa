"""The invoice as a PDF that a person would send. The same order, number and date give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import cast

from fpdf.enums import MethodReturnValue

from invoicing.amounts import Amounts
from invoicing.order import Line, Order
from invoicing.paper import LEFT, WIDTH, Paper
from invoicing.wording import REVERSE_CHARGE, long_date, money, percent, quantity, tax_label, unit_price

# title, width, alignment
_COLUMNS = (
    ("", 8.0, "L"),
    ("Description", 73.0, "L"),
    ("Quantity", 18.0, "R"),
    ("Unit price", 22.0, "R"),
    ("VAT", 16.0, "R"),
    ("Net", 28.0, "R"),
)
_TEXT_X, _TEXT_WIDTH = LEFT + 8, 73.0
_LINE_HEIGHT, _SMALL, _GAP = 4.7, 3.9, 2.2
_SUMS_X = LEFT + 78
_SUMS_WIDTH = WIDTH - 78


def render(order: Order, amounts: Amounts, number: str, issued_on: date) -> bytes:
    """The PDF of invoice `number`."""
    paper = Paper(order.organization, number)
    paper.set_title(f"Invoice {number}")
    paper.set_author(order.organization.name)
    paper.set_subject(f"Order {order.order_id}")
    paper.set_lang("en")
    # Today's time would make other bytes at each try.
    paper.set_creation_date(datetime.combine(issued_on, time(), UTC))
    paper.add_page()
    due = issued_on + timedelta(days=order.payment_days)
    _addresses(paper, order, number, issued_on, due)
    _positions(paper, order, amounts)
    _sums(paper, order, amounts)
    _terms(paper, order, amounts, number, due)
    return bytes(paper.output())


def _addresses(paper: Paper, order: Order, number: str, issued_on: date, due: date) -> None:
    seller, customer = order.organization, order.customer
    paper.ink(7, grey=True)
    paper.put(LEFT, 44, 85, " · ".join((seller.name, *seller.address)), height=3.5)
    paper.ink(10.5)
    y = 50.0
    for text in _recipient(order):
        y = _wrapped(paper, LEFT, y, 80, text, 5.0)
    facts = [
        ("Invoice", number),
        ("Date", long_date(issued_on)),
        ("Payment due", long_date(due)),
        ("Order", order.order_id),
        ("Ordered on", long_date(order.ordered_on)),
        ("Your contact", order.clerk),
    ]
    if customer.vat_id:
        facts.append(("Your VAT ID", customer.vat_id))
    y = max(y, _facts(paper, facts))
    paper.ink(17, bold=True)
    paper.put(LEFT, max(y + 8, 92), WIDTH, f"Invoice {number}", height=8)
    paper.set_y(paper.get_y() + 14)


def _recipient(order: Order) -> Iterator[str]:
    customer = order.customer
    yield customer.name
    if customer.contact:
        yield customer.contact
    yield customer.street
    yield f"{customer.postcode} {customer.city}".strip()
    if customer.country != order.organization.country:
        yield customer.country.upper()


def _facts(paper: Paper, facts: list[tuple[str, str]]) -> float:
    y = 50.0
    for label, value in facts:
        paper.ink(9.5, grey=True)
        paper.put(LEFT + 86, y, 23, label)
        paper.ink(9.5, bold=label == "Invoice")
        y = _wrapped(paper, LEFT + 109, y, WIDTH - 109, value, 4.6) + 0.6
    return y


def _positions(paper: Paper, order: Order, amounts: Amounts) -> None:
    _table_head(paper)
    for number, (line, net) in enumerate(zip(order.lines, amounts.line_nets, strict=True), 1):
        _position(paper, order, number, line, net)


def _table_head(paper: Paper) -> None:
    paper.ink(9, bold=True, accent=True)
    _row(paper, paper.get_y(), [title for title, _, _ in _COLUMNS])
    y = paper.get_y() + 6
    paper.rule(y, accent=True)
    paper.set_xy(LEFT, y + _GAP)


def _row(paper: Paper, y: float, texts: list[str]) -> None:
    x = LEFT
    for text, (_, width, align) in zip(texts, _COLUMNS, strict=True):
        paper.put(x, y, width, text, align=align)
        x += width
    paper.set_y(y)


def _position(paper: Paper, order: Order, number: int, line: Line, net: Decimal) -> None:
    paper.ink(10)
    texts = _broken(paper, line.text)
    small = _small_print(line)
    height = len(texts) * _LINE_HEIGHT + (_SMALL if small else 0) + 2 * _GAP
    if height > paper.room():
        _next_page(paper)
    y = paper.get_y()
    paper.ink(10)
    figures = [quantity(line.quantity), unit_price(line.price), _rate(order, line), money(net)]
    _row(paper, y, [str(number), texts[0], *figures])
    paper.set_y(y + _LINE_HEIGHT)
    for text in texts[1:]:
        _text_line(paper, text, _LINE_HEIGHT)
    if small:
        paper.ink(8, grey=True)
        _text_line(paper, small, _SMALL)
    y = paper.get_y() + _GAP
    paper.rule(y)
    paper.set_y(y + _GAP)


def _broken(paper: Paper, text: str) -> list[str]:
    """The text as the lines that fit into the description column."""
    lines = paper.multi_cell(_TEXT_WIDTH, _LINE_HEIGHT, text, align="L", dry_run=True, output=MethodReturnValue.LINES)
    return cast(list[str], lines)


def _rate(order: Order, line: Line) -> str:
    return "reverse" if line.tax_class == "reverse-charge" else percent(order.organization.rates[line.tax_class])


def _small_print(line: Line) -> str:
    parts = [line.sku] if line.sku else []
    if line.discount:
        parts.append(f"{percent(line.discount)} discount")
    return " · ".join(parts)


def _text_line(paper: Paper, text: str, height: float) -> None:
    """One line in the description column; a description that is longer than a page goes on on the next."""
    if height > paper.room():
        _next_page(paper)
        paper.ink(10)
    y = paper.get_y()
    paper.put(_TEXT_X, y, _TEXT_WIDTH, text, height=height)
    paper.set_y(y + height)


def _next_page(paper: Paper) -> None:
    paper.add_page()
    _table_head(paper)


def _sums(paper: Paper, order: Order, amounts: Amounts) -> None:
    if paper.room() < 5.4 * (len(amounts.taxes) + 1) + 50:  # the sums and the terms stay together
        paper.add_page()
    y = paper.get_y() + 3
    sums = [("Net amount", amounts.net), *((tax_label(entry), entry.tax) for entry in amounts.taxes)]
    for label, value in sums:
        paper.ink(10)
        paper.put(_SUMS_X, y, _SUMS_WIDTH, label)
        paper.put(_SUMS_X, y, _SUMS_WIDTH, money(value), align="R")
        y += 5.4
    paper.rule(y + 1, x=_SUMS_X, width=_SUMS_WIDTH, accent=True)
    paper.ink(12.5, bold=True, accent=True)
    paper.put(_SUMS_X, y + 2.5, _SUMS_WIDTH, "Total", height=6)
    paper.put(_SUMS_X, y + 2.5, _SUMS_WIDTH, f"{order.currency} {money(amounts.total)}", align="R", height=6)
    paper.set_xy(LEFT, y + 16)


def _terms(paper: Paper, order: Order, amounts: Amounts, number: str, due: date) -> None:
    seller = order.organization
    texts = [
        f"Please transfer {order.currency} {money(amounts.total)} by {long_date(due)} to {seller.bank},"
        f" IBAN {_unbroken(seller.iban)}, and name {number} as the reference.",
        "Thank you for your order.",
    ]
    if any(entry.reverse for entry in amounts.taxes):
        texts.insert(0, REVERSE_CHARGE)
    paper.ink(10)
    for text in texts:
        paper.set_y(_wrapped(paper, LEFT, paper.get_y(), WIDTH, text, 5.0) + 1.5)


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _wrapped(paper: Paper, x: float, y: float, width: float, text: str, height: float) -> float:
    """Text that may take several lines; returns where the next may begin."""
    paper.set_xy(x, y)
    paper.multi_cell(width, height, text, align="L")
    return float(paper.get_y())
