"""Mail, chats, webhooks and all the rest, by Apprise.

Apprise says whether it worked and nothing else. What it logs tells why, and the answers of the web servers it talks to
tell when to come back; both are noted for the thread that sends.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlencode

from batchctl.notify.delivery import Undelivered
from batchctl.notify.messages import Message
from batchctl.processors.retry_after import retry_after

_WEBHOOKS = ("json", "jsons", "form", "forms", "xml", "xmls")
_TIMEOUTS = {"cto": "10", "rto": "15"}  # seconds to connect, to read
_REASON = "Socket Exception: "  # what Apprise notes of a failed connection, below its warnings


class _Heard(threading.local):
    """What was said in this thread since `begin`."""

    lines: list[str] | None = None
    answers: list[tuple[int, Mapping[str, str]]] | None = None


_heard = _Heard()


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if _heard.lines is not None and (record.levelno >= logging.WARNING or text.startswith(_REASON)):
            _heard.lines.append(text.removeprefix(_REASON))


_loading = threading.Lock()


def _apprise() -> ModuleType:
    """The library with its plugins, loaded once: some of them warn of what later versions of Python will lack."""
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import apprise

        _listen()
        apprise.Apprise.instantiate("json://localhost")
        return apprise


@cache
def _listen() -> None:
    """Once: hear what Apprise logs, and the answers that come to `requests`, through which it speaks HTTP."""
    import requests

    log = logging.getLogger("apprise")
    log.addHandler(_Listener())
    log.setLevel(logging.DEBUG)
    log.propagate = False  # what it says may hold credentials: it goes nowhere but here
    send = requests.Session.send

    def heard(self: Any, request: Any, **kwargs: Any) -> Any:
        answer = send(self, request, **kwargs)
        if _heard.answers is not None:
            _heard.answers.append((answer.status_code, answer.headers))
        return answer

    requests.Session.send = heard  # type: ignore[method-assign]


@contextmanager
def _hearing() -> Iterator[_Heard]:
    """What is said in this thread meanwhile. May stand within itself."""
    if _heard.lines is not None:
        yield _heard
        return
    _heard.lines, _heard.answers = [], []
    try:
        yield _heard
    finally:
        _heard.lines = _heard.answers = None


def deliver(url: str, message: Message) -> None:
    """Raises Undelivered."""
    apprise = _apprise()
    with _hearing() as heard:
        plugin = make(url, message)
        plain = plugin.notify_format == apprise.NotifyFormat.TEXT
        sender = apprise.Apprise(asset=_asset())
        sender.add(plugin)
        done = sender.notify(
            title=message.subject,
            body=message.text if plain else message.html,
            body_format=apprise.NotifyFormat.TEXT if plain else apprise.NotifyFormat.HTML,
            notify_type=apprise.NotifyType(message.kind),
        )
        if not done:
            raise _undelivered(heard)


def make(url: str, message: Message) -> Any:
    """Apprise's object for the URL. Raises Undelivered (final) where it makes no sense to Apprise."""
    apprise = _apprise()
    with _hearing() as heard:
        plugin: Any = apprise.Apprise.instantiate(_completed(url, message), asset=_asset())
        if plugin is None:
            raise Undelivered(f"Apprise does not understand this URL: {_said(heard) or 'unknown kind'}", final=True)
        if url.lower().startswith("mailto") and not plugin.targets:
            raise Undelivered(f"the URL names nobody to write to: {_said(heard) or 'no mail address'}", final=True)
        return plugin


@cache
def _asset() -> Any:
    return _apprise().AppriseAsset(app_id="batchctl", app_desc="batchctl", app_url="", async_mode=False)


def _completed(url: str, message: Message) -> str:
    """The URL with our timeouts; a webhook also gets the idempotency key as a header, and the facts as fields."""
    scheme = url.partition(":")[0].lower()
    more = {name: value for name, value in _TIMEOUTS.items() if f"{name}=" not in url}
    if scheme in _WEBHOOKS:
        more["+Idempotency-Key"] = message.key
        more |= {f":{name}": str(value) for name, value in message.facts.items()}
    if scheme in ("mailto", "mailtos"):
        more["+Auto-Submitted"] = "auto-generated"
    return f"{url}{'&' if '?' in url else '?'}{urlencode(more, quote_via=quote)}"


def _undelivered(heard: _Heard) -> Undelivered:
    pauses = [retry_after(headers, datetime.now(UTC)) for status, headers in heard.answers or () if status >= 400]
    known = [pause for pause in pauses if pause is not None]
    return Undelivered(_said(heard) or "Apprise could not send it", retry_after=max(known, default=None))


def _said(heard: _Heard) -> str:
    return " ".join(dict.fromkeys(" ".join(line.split()) for line in heard.lines or ()))[:500]
