"""How numbers, dates and countries read on an English invoice. No locale: the same text on every machine."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from invoicing.amounts import TaxLine

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

REVERSE_CHARGE = "Reverse charge: the recipient accounts for the VAT (Article 196, Directive 2006/112/EC)."


def money(amount: Decimal) -> str:
    """`1,234.50`"""
    return f"{amount:,.2f}"


def unit_price(price: Decimal) -> str:
    """At least two decimals, more where the price has more: `0.0845`."""
    return f"{price:,f}" if -int(price.as_tuple().exponent) > 2 else money(price)


def quantity(number: Decimal) -> str:
    """Without trailing zeros: `12`, `2.5`."""
    return f"{number.normalize():,f}"


def percent(rate: Decimal) -> str:
    return f"{rate.normalize():f}%"


def long_date(day: date) -> str:
    """`5 March 2026`"""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def tax_label(entry: TaxLine) -> str:
    """`VAT 19% on 1,234.50`"""
    if entry.reverse:
        return f"Reverse charge, 0% on {money(entry.net)}"
    return f"VAT {percent(entry.rate)} on {money(entry.net)}"
