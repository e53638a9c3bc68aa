"""What an order costs, in exact decimals.

Rounding, as EN 16931 does it: each line is rounded to cents, half up. Lines of one tax rate are added, and
the tax is taken from that sum and rounded once. So what is printed adds up: the lines to the net amount, net
amount and taxes to the total.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext

from invoicing.order import Line, Order

_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class TaxLine:
    """The tax of one rate: `net` is the sum it is taken from. `reverse` where the customer owes it."""

    rate: Decimal
    reverse: bool
    net: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Amounts:
    """`line_nets` stand in the order of the order's lines, `taxes` highest rate first."""

    line_nets: tuple[Decimal, ...]
    taxes: tuple[TaxLine, ...]
    net: Decimal
    tax: Decimal
    total: Decimal


def compute(order: Order) -> Amounts:
    """All sums of the invoice."""
    with localcontext(prec=50):
        nets = tuple(line_net(line) for line in order.lines)
        taxes = _taxes(order, nets)
        net, tax = sum(nets, Decimal(0)), sum((entry.tax for entry in taxes), Decimal(0))
        return Amounts(nets, taxes, net, tax, net + tax)


def line_net(line: Line) -> Decimal:
    """Quantity times price less discount, rounded to cents, half up."""
    return _cents(line.quantity * line.price * (100 - line.discount) / 100)


def _taxes(order: Order, nets: tuple[Decimal, ...]) -> tuple[TaxLine, ...]:
    sums: dict[tuple[Decimal, bool], Decimal] = defaultdict(Decimal)
    for line, net in zip(order.lines, nets, strict=True):
        sums[order.organization.rates[line.tax_class], line.tax_class == "reverse-charge"] += net
    ordered = sorted(sums.items(), key=lambda entry: (-entry[0][0], entry[0][1]))
    return tuple(TaxLine(rate, reverse, net, _cents(net * rate / 100)) for (rate, reverse), net in ordered)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)
