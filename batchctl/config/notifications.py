"""`notifications:` to structs: who is told what, and the name by which the store knows each target."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchctl.config.secrets import masked
from batchctl.config.structs import Notification
from batchctl.template import Filled, Text

EVENTS = ("completed", "completed_with_errors", "failed", "cancelled", "alert")
_USERINFO = re.compile(r"^[^:/?#@]*:([^/?#@]*)@")
_RESEND_KEY = re.compile(r"^([^:/?#@]+):")
_PARAMETER = re.compile(r"[?&](?:pass|password|token|key|apikey|secret)=([^&{]+)", re.IGNORECASE)
_TOKEN = re.compile(r"(?=.*[A-Za-z])(?=.*\d).{8,}|.{20,}")


# What an address' template sees, with values that fit: `config check` tries each address with them.
SAMPLE = {
    "event": "completed",
    "processor": "sample",
    "batch": {
        "id": "bsample000000",
        "name": "sample",
        "organization": "sample",
        "user": "somebody@example.com",
        "kind": "orders",
        "created_at": "2026-03-01T02:00:00Z",
        "total_items": 1,
    },
}


def build(data: Sequence[Mapping[str, Any]]) -> tuple[Notification, ...]:
    """One for each address of each entry."""
    return tuple(one for entry in data for one in _entry(entry))


def _entry(entry: Mapping[str, Any]) -> Iterator[Notification]:
    several = len(entry["to"]) > 1
    for to in entry["to"]:
        mark = identity(to)
        name = entry.get("name")
        yield Notification(
            to=to,
            id=mark if name is None else f"{name}-{mark.rpartition('-')[2]}" if several else name,
            events=frozenset(entry.get("events", EVENTS)),
            processors=frozenset(entry.get("processors", ())),
            organizations=frozenset(entry.get("organizations", ())),
            missing=tuple(part.source for part in to.filled if part.missing) if isinstance(to, Text) else (),
        )


def identity(to: str) -> str:
    """A name for an address that stays the same while nobody edits it, whatever its `${…}` come to: the scheme and a
    short hash of what its author wrote, passwords left out."""
    written = to if not isinstance(to, Text) else "".join(_source(part) for part in to.parts)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*", written)
    mark = hashlib.blake2b(str(masked(written)).encode("utf-8", "surrogateescape"), digest_size=4)
    return f"{scheme[0].lower() if scheme else 'target'}-{mark.hexdigest()}"


def _source(part: str | Filled) -> str:
    return part if isinstance(part, str) else part.source


def literals(data: Any) -> Iterator[str]:
    """What in the addresses themselves may be a credential: passwords, and what looks like a token."""
    for entry in data if isinstance(data, list) else ():
        found = entry.get("to") if isinstance(entry, Mapping) else None
        for to in found if isinstance(found, list) else [found]:
            if isinstance(to, str):
                yield from _literals(_written(to))


def _written(to: str) -> str:
    """The address without what came from `${…}`, which is masked anyway, and without templates."""
    text = to if not isinstance(to, Text) else "".join(part if isinstance(part, str) else "" for part in to.parts)
    return re.sub(r"\{\{.*?\}\}", "", text)


def _literals(address: str) -> Iterator[str]:
    scheme, _, rest = address.partition("://")
    if scheme == "resend":
        yield from _RESEND_KEY.findall(rest)
        return
    yield from _USERINFO.findall(rest)
    yield from _PARAMETER.findall(rest)
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    if not scheme.startswith("mailto"):
        parts = path.rpartition("@")[2].split("/")
        yield from (part for part in parts if _TOKEN.fullmatch(part) and "." not in part)
