"""Mail by Resend's own API: `resend://API_KEY:from@example.com/to@example.org`, as Apprise writes it.

By its own API, because Apprise sends no idempotency key: with one Resend sends a mail once, however often we ask.
Parameters: `to`, `cc`, `bcc`, `reply`, `name` (the sender's name), `base_url` (another address of the API).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formataddr
from urllib.parse import parse_qs, unquote, urlsplit

from batchctl.notify.delivery import Undelivered
from batchctl.notify.messages import Message
from batchctl.processors.retry_after import retry_after

_API = "https://api.resend.com"
_TIMEOUT = 15.0
_FINAL = frozenset({400, 422})  # the mail itself is refused: it would be again


@dataclass(frozen=True, slots=True)
class Address:
    """What a resend:// URL says."""

    api_key: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    api: str = _API


def parse(url: str) -> Address:
    """Raises Undelivered (final) for what is no such URL or names nobody."""
    parts = urlsplit(url)
    key, colon, sender = parts.netloc.partition(":")
    if not key or not colon or "@" not in sender:
        raise Undelivered("a resend URL is resend://API_KEY:from@example.com/to@example.org", final=True)
    query = parse_qs(parts.query)
    named = [text for text in (*parts.path.split("/"), *query.get("to", ())) if text]
    to = _people(named or [sender])  # as Apprise does with mail: where nobody is named, to the sender itself
    if not to:
        raise Undelivered(f"this is no mail address: {', '.join(named)}", final=True)
    name = query.get("name", ["batchctl"])[0]
    return Address(
        api_key=unquote(key),
        sender=formataddr((_clean(name), _clean(unquote(sender)))),
        to=to,
        cc=_people(query.get("cc", ())),
        bcc=_people(query.get("bcc", ())),
        reply_to=_people(query.get("reply", ())),
        api=query.get("base_url", [_API])[0].rstrip("/"),
    )


def _people(texts: Iterable[str]) -> tuple[str, ...]:
    found = (_clean(one) for text in texts for one in unquote(text).split(","))
    return tuple(one for one in found if "@" in one)


def _clean(text: str) -> str:
    return "".join(char for char in text if char.isprintable()).strip()


def deliver(url: str, message: Message) -> None:
    """Raises Undelivered."""
    import httpx

    address = parse(url)
    headers = {"Authorization": f"Bearer {address.api_key}", "Idempotency-Key": message.key}
    try:
        answer = httpx.post(f"{address.api}/emails", json=_body(address, message), headers=headers, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
        raise Undelivered(f"{urlsplit(address.api).netloc}: {type(error).__name__}: {error}") from None
    if answer.is_success:
        return
    raise Undelivered(
        f"{urlsplit(address.api).netloc} answered {answer.status_code}: {answer.text[:300]}",
        retry_after=retry_after(answer.headers, datetime.now(UTC)),
        final=answer.status_code in _FINAL,
    )


def _body(address: Address, message: Message) -> dict[str, object]:
    body: dict[str, object] = {
        "from": address.sender,
        "to": address.to,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "headers": {"Auto-Submitted": "auto-generated"},
    }
    more = {"cc": address.cc, "bcc": address.bcc, "reply_to": address.reply_to}
    return body | {name: people for name, people in more.items() if people}
