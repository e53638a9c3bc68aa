"""The invoice register: which order has which number. One SQLite file, shared by all workers.

A number is allotted once, in one transaction, and never changes or goes to another order. So an order that is
tried again, after a crash or in another batch, finds its number and its date here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS invoices (
    organization TEXT NOT NULL,
    order_id     TEXT NOT NULL,
    series       TEXT NOT NULL,
    year         INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    number       TEXT NOT NULL UNIQUE,
    issued_on    TEXT NOT NULL,
    order_sha256 TEXT NOT NULL,
    pdf_sha256   TEXT,
    PRIMARY KEY (organization, order_id),
    UNIQUE (series, year, sequence)
)
"""


class OrderChangedError(Exception):
    """The order was invoiced before, with other content; an issued invoice does not change."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One invoice. `pdf_sha256` is None until its PDF lies in its place; `new` where it was just allotted."""

    number: str
    issued_on: date
    pdf_sha256: str | None
    new: bool


class Register:
    """Opens the register at `path` and makes it where there is none. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Register:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def allot(self, organization: str, order_id: str, series: str, order_sha256: str, today: date) -> Entry:
        """The order's number: the one it has, or else the next of the series in the year of `today`.

        Raises OrderChangedError where the order has a number under another `order_sha256`.
        """
        with self._transaction() as run:
            known = run.execute(
                "SELECT number, issued_on, pdf_sha256, order_sha256 FROM invoices"
                " WHERE organization = ? AND order_id = ?",
                (organization, order_id),
            ).fetchone()
            if known:
                return _known(order_id, known, order_sha256)
            return self._next(organization, order_id, series, order_sha256, today)

    def _next(self, organization: str, order_id: str, series: str, order_sha256: str, today: date) -> Entry:
        (sequence,) = self._connection.execute(
            "SELECT coalesce(max(sequence), 0) + 1 FROM invoices WHERE series = ? AND year = ?",
            (series, today.year),
        ).fetchone()
        number = f"{series}-{today.year}-{sequence:05d}"
        self._connection.execute(
            "INSERT INTO invoices"
            " (organization, order_id, series, year, sequence, number, issued_on, order_sha256)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (organization, order_id, series, today.year, sequence, number, today.isoformat(), order_sha256),
        )
        return Entry(number, today, None, new=True)

    def printed(self, number: str, pdf_sha256: str) -> None:
        """Remember that the PDF of `number` lies in its place."""
        with self._transaction() as run:
            run.execute("UPDATE invoices SET pdf_sha256 = ? WHERE number = ?", (pdf_sha256, number))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE: two workers must not both read the same highest number.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _known(order_id: str, row: tuple[str, str, str | None, str], order_sha256: str) -> Entry:
    number, issued_on, pdf_sha256, stored = row
    if stored != order_sha256:
        raise OrderChangedError(f"order {order_id} was invoiced as {number} with other content")
    return Entry(number, date.fromisoformat(issued_on), pdf_sha256, new=False)
