"""Sends requests and reads their answers, with libcurl.

libcurl costs 60 to 80 µs of processor time a request, most of it without the interpreter's lock. aiohttp took 190 µs,
httpx over aiohttp's transport 290 µs, and either 0.2 s to import; beside the store's work neither kept up with
`curl -Z`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pycurl  # type: ignore[import-untyped]  # it brings no types

import batchctl
from batchctl.config.structs import HttpSpec
from batchctl.processors.curl_loop import CurlLoop
from batchctl.processors.http_answer import Answer, Headers, decode_body
from batchctl.processors.http_errors import CurlFailure, ProcessorProblem
from batchctl.processors.http_request import Request, RequestProblem
from batchctl.processors.http_upload import Upload

MAX_REDIRECTS = 5
CONNECT_MS = 10_000
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FOLLOWING = frozenset({"GET", "HEAD"})
_PROGRESS_FROM = 1_000_000
_PROXY = re.compile(r"^(?:(?:https?|socks4a?|socks5h?)://)?[^/]+/?$")

Progress = Callable[[float], None]
Ended = Callable[[Answer | Exception], None]
Option = tuple[int, Any]


class Client:
    """What all requests of one processor have in common. Lives in the curl thread.

    No cookies are kept: what one item's answer sets must not reach another item.
    """

    def __init__(self, spec: HttpSpec, timeout: float, loop: CurlLoop) -> None:
        self.loop = loop
        self.timeout = timeout
        self.max_output = spec.max_output
        self.careful = spec.on_unknown == "fail"
        self._spec = spec
        self._options: list[Option] | None = None
        self._trust: list[Option] | None = None

    def send(self, request: Request, progress: Progress, ended: Ended) -> Exchange:
        """Start it. `ended` gets the answer, or a CurlFailure or RequestProblem. Raises those, or ProcessorProblem."""
        exchange = Exchange(self, request, progress, ended)
        exchange.start()
        return exchange

    def options(self) -> list[Option]:
        """Raises ProcessorProblem where the config names a proxy or a CA bundle that cannot be used."""
        if self._options is None:
            self._options = [
                (pycurl.NOSIGNAL, 1),
                (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
                (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
                (pycurl.PATH_AS_IS, 1),
                (pycurl.ACCEPT_ENCODING, ""),
                (pycurl.USERAGENT, f"batchctl/{batchctl.__version__}"),
                (pycurl.CONNECTTIMEOUT_MS, min(CONNECT_MS, max(1, int(self.timeout * 1000)))),
                *_proxy(self._spec.proxy),
            ]
        return self._options

    def trust(self) -> list[Option]:
        """The same for what only https needs."""
        if self._trust is None:
            self._trust = _trust(self._spec.verify)
        return self._trust


class Exchange:
    """One request on its way, with the redirects that it leads to."""

    def __init__(self, client: Client, request: Request, progress: Progress, ended: Ended) -> None:
        self._client = client
        self._request = request
        self._progress = progress
        self._ended = ended
        self._deadline = time.monotonic() + client.timeout
        self._redirects = 0
        self._handle: pycurl.Curl | None = None
        self._upload: Upload | None = None
        self._lines: list[bytes] = []
        self._chunks: list[bytes] = []
        self._size = 0

    def start(self) -> None:
        options = self._client.options()
        if self._request.url.startswith("https:"):
            options = options + self._client.trust()
        self._lines, self._chunks, self._size = [], [], 0
        self._handle = handle = self._client.loop.handle()
        try:
            for option, value in options:
                handle.setopt(option, value)
            self._set_up(handle)
        except BaseException:
            self._free()
            raise
        self._client.loop.send(handle, self._on_end)

    def cancel(self) -> None:
        """Break the connection off; nothing is said to `ended`."""
        self._free()

    def _set_up(self, handle: pycurl.Curl) -> None:
        request = self._request
        handle.setopt(pycurl.URL, request.url)
        handle.setopt(pycurl.TIMEOUT_MS, max(1, int((self._deadline - time.monotonic()) * 1000)))
        handle.setopt(pycurl.HTTPHEADER, header_lines(request))
        handle.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        handle.setopt(pycurl.WRITEFUNCTION, self._write)
        if self._client.careful and request.method not in _FOLLOWING:
            # On a connection that was kept alive libcurl would send again by itself what found it closed.
            handle.setopt(pycurl.FRESH_CONNECT, 1)
        self._set_content(handle, request)

    def _set_content(self, handle: pycurl.Curl, request: Request) -> None:
        method = request.method
        if request.upload is not None:
            self._upload = Upload(request, self._progress)
            self._upload.set_up(handle)
        elif method == "HEAD":
            handle.setopt(pycurl.NOBODY, 1)
            return
        elif request.body is not None or method in ("POST", "PUT", "PATCH"):
            handle.setopt(pycurl.POSTFIELDS, request.body or b"")
        elif method == "GET":
            return
        if method != "POST" or request.upload is not None:
            handle.setopt(pycurl.CUSTOMREQUEST, method)

    def _write(self, data: bytes) -> int | None:
        self._size += len(data)
        self._chunks.append(data)
        if self._size > self._client.max_output:
            return -1  # libcurl ends the transfer
        if self._upload is None and self._size > _PROGRESS_FROM:
            self._tell_progress()
        return None

    def _tell_progress(self) -> None:
        assert self._handle is not None
        whole = self._handle.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD)
        if whole > 0:
            self._progress(min(100.0, self._size * 100 / whole))

    def _on_end(self, code: int, words: str) -> None:
        try:
            found: Answer | Exception | None = self._failure(code, words) if code else self._answer()
        except RequestProblem as problem:
            found = problem
        finally:
            self._free()
        if found is not None:
            self._ended(found)
            return
        try:
            self.start()
        except (RequestProblem, pycurl.error) as error:
            self._ended(error)

    def _failure(self, code: int, words: str) -> Exception:
        if self._size > self._client.max_output:
            return RequestProblem(
                "OutputTooLarge", f"the answer is larger than {self._client.max_output} bytes (max_output)"
            )
        assert self._handle is not None
        return CurlFailure.of(self._handle, code, words)

    def _answer(self) -> Answer | None:
        """The answer; None where it is a redirect to follow, which `_request` then is."""
        assert self._handle is not None
        status = self._handle.getinfo(pycurl.RESPONSE_CODE)
        headers = Headers.of(_header_pairs(self._lines))
        if status in _REDIRECTS and self._request.method in _FOLLOWING and headers.get("location"):
            self._redirects += 1
            if self._redirects > MAX_REDIRECTS:
                where = f"{self._request.origin} redirected more than {MAX_REDIRECTS} times"
                raise RequestProblem("TooManyRedirects", where)
            self._request = self._request.redirected(headers["location"])
            return None
        body = decode_body(b"".join(self._chunks), headers.get("content-type"))
        return Answer(status, headers, body, self._request.origin)

    def _free(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._client.loop.free(handle)
        if self._upload is not None:
            self._upload.close()
            self._upload = None


def header_lines(request: Request) -> list[bytes]:
    """As libcurl wants them: `Name;` sends an empty value, `Name:` keeps libcurl's own header away."""
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers.items()]
    lines.append("Expect:")  # else libcurl would wait for a `100 Continue` before it sends larger content
    if request.fields is None and not request.has("content-type"):  # with a form libcurl writes it itself
        lines.append("Content-Type:")
    return [line.encode("utf-8") for line in lines]


def _header_pairs(lines: list[bytes]) -> list[tuple[str, str]]:
    """Of the last block: interim answers and those of proxies came before it."""
    start = max((n for n, line in enumerate(lines) if line.startswith(b"HTTP/")), default=-1)
    parted = [line.decode("utf-8", "replace").partition(":") for line in lines[start + 1 :]]
    return [(name.strip(), value.strip()) for name, colon, value in parted if colon]


def _trust(verify: bool | str) -> list[Option]:
    """Whose certificates count. The wheels of pycurl bring a TLS library that does not know this system's."""
    if verify is False:
        return [(pycurl.SSL_VERIFYPEER, 0), (pycurl.SSL_VERIFYHOST, 0)]
    if isinstance(verify, str):
        path = Path(verify)
        if not path.exists():
            raise ProcessorProblem(f"verify: there is no CA bundle {verify}")
        return [(pycurl.CAPATH, verify), (pycurl.CAINFO, None)] if path.is_dir() else [(pycurl.CAINFO, verify)]
    import ssl

    system = ssl.get_default_verify_paths()  # heeds SSL_CERT_FILE and SSL_CERT_DIR
    options = [(pycurl.CAINFO, system.cafile)] if system.cafile else []
    return options + ([(pycurl.CAPATH, system.capath)] if system.capath else [])


def _proxy(configured: str | None) -> list[Option]:
    """libcurl itself reads http_proxy, https_proxy, all_proxy and no_proxy; an empty `proxy:` keeps it from that."""
    if configured is not None:
        if configured and not _PROXY.match(configured):
            raise ProcessorProblem("proxy: only http, https, socks4 and socks5 proxies can be used")
        return [(pycurl.PROXY, configured)]
    upper = os.environ.get("HTTP_PROXY")
    if upper and not os.environ.get("http_proxy"):  # libcurl leaves the upper-case one to CGI programs
        os.environ["http_proxy"] = upper
    return []
