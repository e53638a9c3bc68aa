"""From a processor's templates and an item to the request that goes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

import msgspec

from batchctl.config.structs import HttpSpec, ProcessorConfig
from batchctl.model import Item
from batchctl.template import Template

_KEYED = frozenset({"POST", "PUT", "PATCH"})
_URL_CHARS = "!#$%&'()*+,/:;=?@[]~"
_NOT_IN_HOST = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}]")
_TRAVELS = frozenset({"accept", "accept-language", "accept-encoding", "user-agent"})


class RequestProblem(Exception):
    """The request cannot be made from this item; `kind` is the error's type. The message may hold secrets."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """A request ready to send.

    url         percent-encoded, without a fragment
    body        bytes, or None
    upload      a file whose content is sent: as the body, or with `fields` as multipart/form-data
    media_type  of that file
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None
    upload: Path | None = None
    media_type: str = ""
    fields: tuple[tuple[str, str], ...] | None = None

    @property
    def origin(self) -> str:
        return origin(self.url)

    def has(self, header: str) -> bool:
        return has(self.headers, header)

    def redirected(self, location: str) -> Request:
        """The same for the address of an answer's `Location`. To another origin go neither content nor headers that may
        hold a secret. Raises RequestProblem where it leads out of HTTP."""
        target = _joined(self.url, location)
        if origin(target) == self.origin:
            return replace(self, url=target)
        kept = {name: value for name, value in self.headers.items() if name.lower() in _TRAVELS}
        return Request(self.method, target, kept)


class RequestBuilder:
    """Renders the requests of one processor. Raises TemplateError or RequestProblem for an item it cannot do."""

    def __init__(self, config: ProcessorConfig, spec: HttpSpec) -> None:
        where = f"{config.name}.http"
        self._spec = spec
        self._folder = config.folder
        self._method = spec.method.upper()
        self._url = Template(spec.url, where=f"{where}.url", url=True)
        self._params = _template(spec.params or None, f"{where}.params")
        self._headers = _template(spec.headers or None, f"{where}.headers")
        self._json = Template(spec.json, where=f"{where}.json") if spec.has_json else None
        self._form = _template(spec.form, f"{where}.form")
        self._body = _template(spec.body, f"{where}.body")
        self._file = _template(spec.file, f"{where}.file")

    def build(self, item: Item, scope: Mapping[str, Any]) -> Request:
        url = parse_url(_text(self._url.render(scope)))
        if self._params is not None:
            url = _with_query(url, _pairs(self._params.render(scope)))
        headers = self._head(item, scope)
        fields = None if self._form is None else tuple(_pairs(self._form.render(scope)))
        if self._file is not None:
            return self._with_file(item, Request(self._method, url, headers, fields=fields), scope)
        return Request(self._method, url, headers, self._content(scope, fields, headers))

    def _head(self, item: Item, scope: Mapping[str, Any]) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._headers is not None:
            for name, value in self._headers.render(scope).items():
                if value is not None:
                    headers[name] = _header(name, _text(value))
        key = self._spec.idempotency_header
        if key and self._method in _KEYED and not has(headers, key):
            headers[key] = item.idempotency_key
        return headers

    def _content(
        self, scope: Mapping[str, Any], fields: tuple[tuple[str, str], ...] | None, headers: dict[str, str]
    ) -> bytes | None:
        if self._json is not None:
            _default_type(headers, "application/json")
            return _json(self._json.render(scope))
        if fields is not None:
            _default_type(headers, "application/x-www-form-urlencoded")
            return urlencode(fields).encode("ascii")
        if self._body is None:
            return None
        body = self._body.render(scope)
        if isinstance(body, str):
            _default_type(headers, "text/plain; charset=utf-8")
            return _bytes(body)
        _default_type(headers, "application/json")
        return _json(body)

    def _with_file(self, item: Item, request: Request, scope: Mapping[str, Any]) -> Request:
        assert self._file is not None
        path = self._folder / _text(self._file.render(scope))
        found = media_type(path, item)
        if request.fields is None:
            _default_type(request.headers, found)
        return replace(request, upload=path, media_type=found)


def origin(url: str) -> str:
    """`scheme://host:port`, by which the outage guard knows a receiver."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@lru_cache(256)  # most processors have one address
def parse_url(text: str) -> str:
    """The address as it is sent. What is percent-encoded stays as it is; what has to be and is not gets so.

    Raises RequestProblem where it is no http or https address.
    """
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        netloc = parts.netloc if parts.netloc.isascii() else _ascii_netloc(parts)
    except ValueError as error:
        raise RequestProblem("InvalidUrl", f"{text} is not a URL: {error}") from error
    if not plain or _NOT_IN_HOST.search(netloc):
        raise RequestProblem("InvalidUrl", f"{text} is not an http or https URL")
    path = quote(parts.path, safe=_URL_CHARS) or "/"
    query = f"?{quote(parts.query, safe=_URL_CHARS)}" if parts.query else ""
    return f"{parts.scheme}://{netloc}{path}{query}"


def _ascii_netloc(parts: SplitResult) -> str:
    user, at, place = parts.netloc.rpartition("@")
    host = (parts.hostname or "").encode("idna").decode("ascii")
    port = f":{parts.port}" if parts.port else ""
    return f"{quote(user, safe=_URL_CHARS)}{at}{host if host else place}{port}"


def _with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    if not pairs:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs, quote_via=quote)}"


def has(headers: Mapping[str, str], name: str) -> bool:
    lower = name.lower()
    return any(header.lower() == lower for header in headers)


def _joined(base: str, location: str) -> str:
    try:
        return parse_url(urljoin(base, location))
    except ValueError as error:
        raise RequestProblem("InvalidUrl", f"{origin(base)} redirected to something that is not a URL") from error


def media_type(path: Path, item: Item) -> str:
    """What intake found by content for the item's own file; by suffix for others."""
    if item.file is not None and str(path) == item.file.path:
        return item.file.media_type
    import mimetypes

    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _default_type(headers: dict[str, str], media_type: str) -> None:
    if not has(headers, "content-type"):
        headers["Content-Type"] = media_type


def _template(source: Any, where: str) -> Template | None:
    return None if source is None else Template(source, where=where)


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text for each value; a list repeats its name, None leaves it out."""
    return [
        (name, _text(single))
        for name, value in values.items()
        for single in (value if isinstance(value, list | tuple) else (value,))
        if single is not None
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _json(value).decode("utf-8")


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, UnicodeEncodeError, ValueError) as error:
        raise RequestProblem("InvalidRequest", f"the request's content is not JSON: {error}") from error


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestProblem("InvalidRequest", f"the request's content is not UTF-8: {error.reason}") from error


def _header(name: str, value: str) -> str:
    """Without the line breaks by which a payload could add headers of its own."""
    if any(char in text for text in (name, value) for char in "\r\n\0") or not name or ":" in name:
        raise RequestProblem("InvalidRequest", f"header {name!r}: names and values may not hold line breaks")
    return value.strip(" \t")
