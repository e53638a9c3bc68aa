"""From a processor's templates and an item to the request that goes out."""

from __future__ import annotations

import io
import mimetypes
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from multidict import CIMultiDict
from yarl import URL

from batchctl.config.structs import HttpSpec, ProcessorConfig
from batchctl.model import Item
from batchctl.template import Template

FOLLOWING = frozenset({"GET", "HEAD"})  # the methods that follow redirects
_KEYED = frozenset({"POST", "PUT", "PATCH"})
_URL_CHARS = "!#$%&'()*+,/:;=?@[]~"
_TRAVELS = frozenset({"accept", "accept-language", "accept-encoding", "user-agent"})


class RequestProblem(Exception):
    """The request cannot be made from this item; `kind` is the error's type. The message may hold secrets."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Request:
    """A request ready to send.

    body        bytes, or None
    upload      a file whose content is sent: as the body, or with `fields` as multipart/form-data
    media_type  of that file
    """

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | None = None
    upload: Path | None = None
    media_type: str = ""
    fields: tuple[tuple[str, str], ...] | None = None

    @property
    def origin(self) -> str:
        return origin(self.url)

    def redirected(self, location: str) -> Request:
        """The same for the address of an answer's `Location`. To another origin go neither content nor headers that may
        hold a secret. Raises RequestProblem where it leads out of HTTP."""
        target = _joined(self.url, location)
        if origin(target) == self.origin:
            return replace(self, url=target)
        kept = CIMultiDict((name, value) for name, value in self.headers.items() if name.lower() in _TRAVELS)
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
            url = url.extend_query(_pairs(self._params.render(scope)))
        headers = self._head(item, scope)
        fields = None if self._form is None else tuple(_pairs(self._form.render(scope)))
        if self._file is not None:
            return self._with_file(item, Request(self._method, url, headers, fields=fields), scope)
        return Request(self._method, url, headers, self._content(scope, fields, headers))

    def _head(self, item: Item, scope: Mapping[str, Any]) -> CIMultiDict[str]:
        headers: CIMultiDict[str] = CIMultiDict()
        if self._headers is not None:
            for name, value in self._headers.render(scope).items():
                if value is not None:
                    headers[name] = _header(name, _text(value))
        key = self._spec.idempotency_header
        if key and self._method in _KEYED and key not in headers:
            headers[key] = item.idempotency_key
        return headers

    def _content(
        self, scope: Mapping[str, Any], fields: tuple[tuple[str, str], ...] | None, headers: CIMultiDict[str]
    ) -> bytes | None:
        if self._json is not None:
            headers.setdefault("Content-Type", "application/json")
            return _json(self._json.render(scope))
        if fields is not None:
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
            return urlencode(fields).encode("ascii")
        if self._body is None:
            return None
        body = self._body.render(scope)
        if isinstance(body, str):
            headers.setdefault("Content-Type", "text/plain; charset=utf-8")
            return _bytes(body)
        headers.setdefault("Content-Type", "application/json")
        return _json(body)

    def _with_file(self, item: Item, request: Request, scope: Mapping[str, Any]) -> Request:
        assert self._file is not None
        path = self._folder / _text(self._file.render(scope))
        found = media_type(path, item)
        if request.fields is None:
            request.headers.setdefault("Content-Type", found)
        return replace(request, upload=path, media_type=found)


class Upload(io.BufferedReader):
    """A file that tells how much of it was read: `progress` gets 0 to 100, once for each whole percent."""

    def __init__(self, path: Path, progress: Callable[[float], None]) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size
        self._progress = progress
        self._told = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        percent = self.tell() * 100 // self.size if self.size else 100
        if percent > self._told:
            self._told = percent
            self._progress(float(percent))
        return data


def origin(url: URL) -> str:
    """`scheme://host:port`, by which the outage guard knows a receiver."""
    host = url.host or ""
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{url.port}"


def parse_url(text: str) -> URL:
    """Raises RequestProblem where it is no http or https address."""
    try:
        url = URL(text)
        plain = url.scheme in ("http", "https") and bool(url.host)
    except ValueError as error:
        raise RequestProblem("InvalidUrl", f"{text} is not a URL: {error}") from error
    if not plain:
        raise RequestProblem("InvalidUrl", f"{text} is not an http or https URL")
    return url if str(url) == text else _verbatim(url, text)


def _verbatim(url: URL, text: str) -> URL:
    """yarl would write `%26` as `&`, which some receivers tell apart: what was encoded stays so."""
    rest = urlsplit(text)
    query = f"?{quote(rest.query, safe=_URL_CHARS)}" if rest.query else ""
    path = quote(rest.path, safe=_URL_CHARS) or "/"
    return URL(f"{url.scheme}://{url.raw_authority}{path}{query}", encoded=True)


def _joined(base: URL, location: str) -> URL:
    try:
        return parse_url(str(base.join(URL(location, encoded=True))))
    except ValueError as error:
        raise RequestProblem("InvalidUrl", f"{origin(base)} redirected to something that is not a URL") from error


def media_type(path: Path, item: Item) -> str:
    """What intake found by content for the item's own file; by suffix for others."""
    if item.file is not None and str(path) == item.file.path:
        return item.file.media_type
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


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
    if any(char in value for char in "\r\n\0"):
        raise RequestProblem("InvalidRequest", f"header {name}: a value may not hold line breaks")
    return value.strip(" \t")
