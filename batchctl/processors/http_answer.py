"""What came back, and what it means: from a status, headers and bytes to an Outcome. Nothing here talks to anyone."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

JSON_TYPE = re.compile(r"^application/(?:[\w.-]+\+)?json$")
TEXT_TYPE = re.compile(r"^(?:text/.*|.*[/+](?:xml|javascript|ecmascript|yaml|x-yaml|graphql|x-www-form-urlencoded))$")
RETRIED = frozenset({408, 425, 429})
THROTTLED = 429
BROKEN = frozenset({401, 403, 407})
DOWN = frozenset({502, 503, 504})
_EXPLAINS = ("message", "detail", "error_description", "error", "title", "errors", "reason")
_EXCERPT = 20_000  # far more than is shown: secrets are masked before the last cut, which could split one


class Headers(dict[str, str]):
    """Answer headers by name, whatever its case; the names are kept in lower case."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Headers:
        """A name that comes several times has its values joined by commas, as HTTP has it."""
        headers = cls()
        for name, value in pairs:
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        return headers

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `body` is a JSON value, text, or `{"media_type", "size", "base64"}` for other bytes."""

    status: int
    headers: Headers
    body: Any
    origin: str

    @property
    def line(self) -> str:
        """`HTTP 422 Unprocessable Entity`."""
        try:
            return f"HTTP {self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"HTTP {self.status}"

    def names(self) -> dict[str, Any]:
        """What expressions and the result template see beside the item's own names."""
        return {"status": self.status, "headers": self.headers, "body": self.body}

    def explanation(self) -> str:
        """The receiver's own words on what went wrong, on one line; empty where it says nothing."""
        return " ".join(_words(self.body)[:_EXCERPT].split())

    def text(self) -> str:
        """The beginning of the body, for a log."""
        return (self.body if isinstance(self.body, str) else _json(self.body))[:_EXCERPT]


def decode_body(raw: bytes, content_type: str | None) -> Any:
    """The value of an answer's body; None where it is empty.

    JSON where the content type says so, and where it says nothing better and the bytes look like it. Text by its
    charset (UTF-8 unless told), bad bytes replaced. Bytes that are neither come as base64, so that nothing is lost.
    """
    if not raw:
        return None
    media_type, charset = _content_type(content_type)
    if JSON_TYPE.match(media_type) or (media_type in ("", "text/plain") and raw.lstrip()[:1] in (b"{", b"[")):
        try:
            return msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
        except msgspec.MsgspecError:
            pass  # a proxy's page under the API's content type: as text it still explains itself
    return _text(raw, media_type, charset)


def _content_type(text: str | None) -> tuple[str, str]:
    if text == "application/json" or not text:  # most answers: no need for the parser
        return text or "", "utf-8"
    from email.message import Message

    message = Message()
    message["content-type"] = text
    return message.get_content_type() if "/" in text else "", str(message.get_param("charset") or "utf-8")


def _text(raw: bytes, media_type: str, charset: str) -> Any:
    texty = not media_type or JSON_TYPE.match(media_type) or TEXT_TYPE.match(media_type)
    try:
        return raw.decode(charset, "replace" if texty and media_type else "strict")
    except LookupError:
        return raw.decode("utf-8", "replace")
    except UnicodeDecodeError:
        return {
            "media_type": media_type or "application/octet-stream",
            "size": len(raw),
            "base64": base64.b64encode(raw).decode("ascii"),
        }


def _words(body: Any) -> str:
    """The part of a body that a person would read out: an error's message, a page's title, else all of it."""
    if isinstance(body, Mapping):
        if "base64" in body:
            return ""
        for name in _EXPLAINS:
            if found := body.get(name):
                return _words(found)
    if isinstance(body, str):
        if title := re.search(r"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL):
            return title[1]
        return body
    return _json(body)


def _json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode("utf-8")
