"""From a row of text to an Order, or to every reason why it is none."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from invoicing.organizations import ORGANIZATIONS, TAX_CLASSES, Organization

_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d+)?", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


class InvalidOrderError(Exception):
    """The order cannot be invoiced as it stands; `reasons` has every one."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Line:
    """One position. `price` is net for one unit, `discount` percent off the line."""

    sku: str
    text: str
    quantity: Decimal
    price: Decimal
    discount: Decimal
    tax_class: str


@dataclass(frozen=True, slots=True)
class Customer:
    name: str
    contact: str
    email: str
    street: str
    postcode: str
    city: str
    country: str
    vat_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order that can be invoiced. `seller` is the key of `organization`, `clerk` the user who took it."""

    order_id: str
    seller: str
    organization: Organization
    clerk: str
    ordered_on: date
    customer: Customer
    currency: str
    payment_days: int
    lines: tuple[Line, ...]


def parse(payload: Mapping[str, Any]) -> Order:
    """The order in `payload` (text, as in a CSV row; `lines` is JSON). Raises InvalidOrderError."""
    fields = _Fields(payload)
    seller = fields.required("organization")
    organization = ORGANIZATIONS.get(seller)
    if seller and organization is None:
        fields.refuse(f"organization {seller!r} is not known")
    customer = _customer(fields)
    lines = _lines(fields)
    if any(line.tax_class == "reverse-charge" for line in lines) and not customer.vat_id:
        fields.refuse("vat_id is missing, and reverse charge needs one")
    order_id, clerk = fields.required("order_id"), fields.required("user")
    ordered_on, payment_days = fields.day("ordered_on"), fields.days("payment_days")
    currency = _currency(fields, organization)
    if fields.reasons or organization is None:
        raise InvalidOrderError(fields.reasons)
    return Order(order_id, seller, organization, clerk, ordered_on, customer, currency, payment_days, tuple(lines))


class _Fields:
    """Reads fields and collects what is wrong; after a refusal the value that comes back is a filler."""

    def __init__(self, payload: Mapping[str, Any], where: str = "") -> None:
        self._payload = payload
        self._where = where
        self.reasons: list[str] = []

    def refuse(self, reason: str) -> None:
        self.reasons.append(f"{self._where}{reason}")

    def raw(self, name: str) -> Any:
        return self._payload.get(name)

    def text(self, name: str) -> str:
        value = self._payload.get(name)
        # NFC: a letter and its accent as one character, which the typeface has.
        return "" if value is None else unicodedata.normalize("NFC", " ".join(str(value).split()))

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            self.refuse(f"{name} is missing")
        return value

    def number(self, name: str, *, places: int, default: str | None = None) -> Decimal | None:
        """A plain decimal number with at most `places` decimals; None where it was refused."""
        value = self.text(name) or default
        if value is None:
            self.refuse(f"{name} is missing")
            return None
        if not _NUMBER.fullmatch(value):
            self.refuse(f"{name} {value!r} is not a decimal number")
            return None
        number = Decimal(value)
        if number != round(number, places):
            self.refuse(f"{name} {value!r} has more than {places} decimals")
            return None
        return number

    def day(self, name: str) -> date:
        value = self.required(name)
        try:
            return date.fromisoformat(value) if value else date.min
        except ValueError:
            self.refuse(f"{name} {value!r} is not a date (YYYY-MM-DD)")
            return date.min

    def days(self, name: str) -> int:
        value = self.text(name) or "14"
        if not (value.isascii() and value.isdecimal()) or int(value) > 365:
            self.refuse(f"{name} {value!r} is not a number of days from 0 to 365")
            return 0
        return int(value)


def _customer(fields: _Fields) -> Customer:
    email = fields.text("email")
    if email and not _EMAIL.fullmatch(email):
        fields.refuse(f"email {email!r} is not an address")
    return Customer(
        name=fields.required("customer"),
        contact=fields.text("contact"),
        email=email,
        street=fields.required("street"),
        postcode=fields.text("postcode"),
        city=fields.required("city"),
        country=fields.required("country"),
        vat_id=fields.text("vat_id"),
    )


def _currency(fields: _Fields, organization: Organization | None) -> str:
    value = fields.required("currency")
    if value and organization and value != organization.currency:
        fields.refuse(f"currency {value!r}: {organization.name} invoices in {organization.currency}")
    return value


def _lines(fields: _Fields) -> list[Line]:
    rows = fields.raw("lines")
    if isinstance(rows, str):
        try:
            rows = json.loads(rows, parse_float=str, parse_int=str)
        except ValueError as error:
            fields.refuse(f"lines is not JSON: {error}")
            return []
    if not isinstance(rows, list) or not rows:
        fields.refuse("the order has no lines")
        return []
    return [line for number, row in enumerate(rows, 1) if (line := _line(fields, number, row))]


def _line(fields: _Fields, number: int, row: Any) -> Line | None:
    if not isinstance(row, dict):
        fields.refuse(f"line {number}: is not an object")
        return None
    own = _Fields(row, f"line {number}: ")
    text, tax_class = own.required("text"), own.required("tax")
    if tax_class and tax_class not in TAX_CLASSES:
        own.refuse(f"tax class {tax_class!r} is not one of {', '.join(TAX_CLASSES)}")
    quantity, price = own.number("quantity", places=3), own.number("price", places=4)
    discount = own.number("discount", places=2, default="0")
    if quantity is not None and quantity <= 0:
        own.refuse(f"quantity must be more than 0, not {quantity}")
    if price is not None and price < 0:
        own.refuse(f"price must not be negative: {price}")
    if discount is not None and not 0 <= discount <= 100:
        own.refuse(f"discount must be from 0 to 100 percent, not {discount}")
    fields.reasons.extend(own.reasons)
    if own.reasons or quantity is None or price is None or discount is None:
        return None
    return Line(own.text("sku"), text, quantity, price, discount, tax_class)
