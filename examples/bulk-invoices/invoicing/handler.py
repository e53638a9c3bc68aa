"""The processor: one order in, one numbered PDF invoice out."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from batchctl import Context, Item, Permanent, Retry
from invoicing.amounts import Amounts, compute
from invoicing.order import InvalidOrderError, Order, parse
from invoicing.register import Entry, OrderChangedError, Register

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def handle(item: Item, context: Context) -> dict[str, Any]:
    """Invoice the order in `item.payload`; the answer names the number, the PDF and the sums.

    Safe to call again for the same order: it gets the same number, and its PDF the same bytes. An order
    that is wrong fails for good with every reason; a register that is busy is worth another try.
    """
    folder = Path(os.environ.get("INVOICES_DIR") or Path(__file__).parent.parent / "out")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        order = parse(item.payload)
        _check_printable(order)
        path, entry, amounts = invoice(order, _sha256(_canonical(item.payload)), folder, date.today())
    except (InvalidOrderError, OrderChangedError) as error:
        raise Permanent(str(error)) from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _BUSY:
            raise Retry("the invoice register is busy", after=2) from error
        raise
    context.log(f"{entry.number} {'issued' if entry.new else 'was issued before'}: {path}")
    context.artifact(path)
    return _result(order, entry, amounts, path)


def invoice(order: Order, order_sha256: str, folder: Path, today: date) -> tuple[Path, Entry, Amounts]:
    """Number the order and write its PDF under `folder`. Raises OrderChangedError, sqlite3.Error, OSError."""
    from invoicing.pdf import render

    amounts = compute(order)
    with Register(folder / "register.db") as register:
        series = order.organization.series
        entry = register.allot(order.seller, order.order_id, series, order_sha256, today)
        path = folder / "invoices" / order.seller / f"{entry.number}.pdf"
        if entry.pdf_sha256 is None or not _holds(path, entry.pdf_sha256):
            content = render(order, amounts, entry.number, entry.issued_on)
            _write(path, content)
            register.printed(entry.number, _sha256(content))
    return path, entry, amounts


def _check_printable(order: Order) -> None:
    """Raises InvalidOrderError where the invoice would show boxes in place of letters."""
    from invoicing.fonts import unprintable

    customer = order.customer
    texts = {
        "customer": customer.name,
        "contact": customer.contact,
        "address": f"{customer.street}{customer.postcode}{customer.city}{customer.country}",
        **{f"line {number}": line.text + line.sku for number, line in enumerate(order.lines, 1)},
    }
    lacking = {where: unprintable(text) for where, text in texts.items()}
    reasons = [f"{where}: the typeface lacks {found}" for where, found in lacking.items() if found]
    if reasons:
        raise InvalidOrderError(reasons)


def _result(order: Order, entry: Entry, amounts: Amounts, path: Path) -> dict[str, Any]:
    return {
        "invoice": entry.number,
        "issued_on": entry.issued_on.isoformat(),
        "currency": order.currency,
        "net": str(amounts.net),
        "tax": str(amounts.tax),
        "total": str(amounts.total),
        "pdf": str(path),
    }


def _write(path: Path, content: bytes) -> None:
    """All or nothing: whoever looks sees no half-written invoice, not even after a power loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _holds(path: Path, sha256: str) -> bool:
    try:
        return _sha256(path.read_bytes()) == sha256
    except FileNotFoundError:
        return False


def _canonical(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, sort_keys=True, ensure_ascii=False).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
