"""Names that people give to batches and items → numbers. Other organizations do not exist."""

from __future__ import annotations

from dataclasses import dataclass

from batchctl.engines.base import Tx
from batchctl.errors import NotFound, UsageError

_SHORTEST_PREFIX = 4
_LISTED = 10
_BIGGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for: one item, or one batch or more (a group)."""

    batch_nos: tuple[int, ...] = ()
    item_id: int | None = None


def storable(text: str) -> str:
    """A word of the command line as the store has it: bytes that are not UTF-8 are written as `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def resolve_batches(tx: Tx, text: str, org: str | None = None) -> list[int]:
    """The batches that `text` names: an id, a name (the newest), a group, `latest`, or a unique prefix.

    Raises NotFound, and UsageError where a prefix fits several.
    """
    name = storable(text)
    found = _exactly(tx, name, org)
    if found:
        return found
    if len(name) >= _SHORTEST_PREFIX:
        rows = tx.all("view_batches_by_prefix", {"org": org, "low": name, "high": _after(name)})
        if len({row[1] for row in rows}) == 1:
            return [row[0] for row in rows]
        if rows:
            raise _ambiguous(text, [(row[1], row[2]) for row in rows])
    raise NotFound(f"there is no batch {text!r}", hint="`batchctl list` shows what there is")


def resolve_batch(tx: Tx, text: str, org: str | None = None) -> int:
    """The one batch that `text` names. Raises NotFound, and UsageError where it names several."""
    found = resolve_batches(tx, text, org)
    if len(found) > 1:
        rows = [tx.one("view_batch_label", {"no": no}) for no in found]
        raise _ambiguous(text, [(row[0], row[1]) for row in rows if row])
    return found[0]


def resolve_item(tx: Tx, text: str, org: str | None = None) -> int:
    """The item that `text` names: its number, or BATCH/KEY. Raises NotFound."""
    number = _number(text)
    if number is not None and tx.value("view_item_exists", {"id": number, "org": org}):
        return number
    for at, char in enumerate(text):
        if char == "/" and (found := _keyed(tx, text[:at], text[at + 1 :], org)):
            return found
    raise NotFound(f"there is no item {text!r}", hint="items are named by number, or BATCH/KEY")


def resolve_target(tx: Tx, text: str, org: str | None = None) -> Target:
    """What `text` names, item or batches. Raises NotFound, and UsageError where a prefix fits several."""
    if _number(text) is None:
        if exact := _exactly(tx, storable(text), org):
            return Target(batch_nos=tuple(exact))
        if "/" not in text:
            return Target(batch_nos=tuple(resolve_batches(tx, text, org)))
    try:
        return Target(item_id=resolve_item(tx, text, org))
    except NotFound:
        if exact := _exactly(tx, storable(text), org):
            return Target(batch_nos=tuple(exact))
        raise


def _exactly(tx: Tx, name: str, org: str | None) -> list[int]:
    # A group before a name: the batches of a split may all bear the group's name.
    statements = ["view_batch_by_id", "view_batches_by_group", "view_batch_by_name"]
    if name == "latest":
        statements.insert(0, "view_latest_batch")
    for statement in statements:
        rows = tx.all(statement, {"text": name, "org": org})
        if rows:
            return [row[0] for row in rows]
    return []


def _keyed(tx: Tx, batch: str, key: str, org: str | None) -> int | None:
    try:
        nos = resolve_batches(tx, batch, org)
    except NotFound:
        return None
    for no in nos:
        found: int | None = tx.value("view_item_by_key", {"batch_no": no, "key": storable(key)})
        if found is not None:
            return found
    return None


def _number(text: str) -> int | None:
    digits = text.isascii() and text.isdigit()
    return int(text) if digits and len(text) < 20 and int(text) <= _BIGGEST else None


def _after(prefix: str) -> str:
    """The smallest text above all that begin with the prefix, in the order of code points."""
    return prefix + "\U0010ffff"


def _ambiguous(text: str, found: list[tuple[str, str | None]]) -> UsageError:
    shown = [f"{number}  {name}" if name else number for number, name in found[:_LISTED]]
    more = [f"and {len(found) - _LISTED} more"] if len(found) > _LISTED else []
    return UsageError(f"{text!r} fits {len(found)} batches", details=shown + more, hint="name one by its whole id")
