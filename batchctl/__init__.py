"""batchctl: a durable queue for piles of files and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchctl.handlers import Context as Context
    from batchctl.handlers import Item as Item
    from batchctl.handlers import Permanent as Permanent
    from batchctl.handlers import Retry as Retry
    from batchctl.handlers import Unavailable as Unavailable

__version__ = "0.1.0"
_FOR_HANDLERS = ("Context", "Item", "Permanent", "Retry", "Unavailable")


def __getattr__(name: str) -> Any:
    """What handlers import, loaded on first use: the program itself starts without it."""
    if name in _FOR_HANDLERS:
        from batchctl import handlers

        return getattr(handlers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
