"""The orders that the benchmarks enqueue: small JSON objects, as an export from a shop would have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def texts(count: int, first: int = 1) -> Iterator[str]:
    """One order a line, about 150 bytes each."""
    for n in range(first, first + count):
        yield json.dumps(
            {
                "order_id": f"A{n:08d}",
                "n": n,
                "customer": f"Customer {n % 977} & Sons",
                "country": ("DE", "AT", "CH", "FR")[n % 4],
                "amount": round(n * 37 % 100_000 / 100, 2),
                "currency": "EUR",
                "note": "deliver to the back door",
            }
        )


def write(path: Path, count: int) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{text}\n" for text in texts(count))
    return path
