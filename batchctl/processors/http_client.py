"""Sends a request and reads its answer, redirects and uploads included. Raises what the client library raises.

Straight on aiohttp. httpx over its aiohttp transport was tried: 290 µs of processor time a request against 180 µs,
and it reports a lost answer, a refused connection and a dead proxy all as ConnectTimeout, so that `on_unknown` and the
outage guard could not tell them apart.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

import batchctl
from batchctl.config.structs import HttpSpec
from batchctl.processors.http_answer import Answer, Headers, decode_body
from batchctl.processors.http_errors import AnswerLost, ProcessorProblem
from batchctl.processors.http_request import FOLLOWING, Request, RequestProblem, Upload
from batchctl.processors.proxies import Proxies

Progress = Callable[[float], None]

MAX_REDIRECTS = 5
CONNECT_SECONDS = 10.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REPEATED = frozenset({"PUT", "DELETE", "TRACE"})
_PROGRESS_FROM = 1_000_000
# Shorter than what servers wait (node and uvicorn 5 s): a request on a connection that just ends is a lost one.
_KEEP_ALIVE = 4.0


class Client:
    """The connections of one processor, kept alive between its items. Lives in the event loop.

    No cookies: what one item's answer sets must not reach another item. As many connections as items
    are allowed to run.
    """

    def __init__(self, spec: HttpSpec, timeout: float) -> None:
        self._spec = spec
        self._proxies = Proxies(spec.proxy)
        # A connect timeout always fires before the whole one, so the latter means that the request was under way.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=min(CONNECT_SECONDS, timeout * 0.9), ceil_threshold=math.inf
        )
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: Request, progress: Progress) -> Answer:
        """The answer, after up to five redirects for GET and HEAD.

        Raises aiohttp's errors, AnswerLost, RequestProblem and ProcessorProblem.
        """
        for _ in range(MAX_REDIRECTS + 1):
            with ExitStack() as files:
                data = _data(request, files, progress)
                async with self._send(request, data) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or not location or request.method not in FOLLOWING:
                        return await self._read(request, response, progress)
            request = request.redirected(location)
        raise RequestProblem("TooManyRedirects", f"{request.origin} redirected more than {MAX_REDIRECTS} times")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _send(self, request: Request, data: Any) -> Any:
        return self._open().request(
            request.method,
            request.url,
            headers=request.headers,
            data=data,
            allow_redirects=False,
            proxy=self._proxies.of(request.url),
            middlewares=_ONCE if request.method in _REPEATED else None,
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=_KEEP_ALIVE,
                    ssl=_ssl(self._spec.verify),
                    timeout_ceil_threshold=math.inf,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"batchctl/{batchctl.__version__}"},
                timeout=self._timeout,
            )
        return self._session

    async def _read(self, request: Request, response: aiohttp.ClientResponse, progress: Progress) -> Answer:
        headers = Headers.of(response.headers.items())
        raw = await self._body(response, progress if request.upload is None else None)
        body = decode_body(raw, headers.get("content-type"))
        return Answer(response.status, headers, body, request.origin)

    async def _body(self, response: aiohttp.ClientResponse, progress: Progress | None) -> bytes:
        limit, whole = self._spec.max_output, response.content_length or 0
        told = progress if whole > _PROGRESS_FROM else None
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise RequestProblem("OutputTooLarge", f"the answer is larger than {limit} bytes (max_output)")
            if told is not None:
                told(min(100.0, size * 100 / whole))
        return b"".join(chunks)


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a PUT or DELETE again by itself when the connection breaks: `on_unknown` decides."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise AnswerLost from error


_ONCE = (_once,)


def _data(request: Request, files: ExitStack, progress: Progress) -> Any:
    """What aiohttp sends: bytes, an open file, or a multipart form around it. `files` closes the file."""
    if request.upload is None:
        return request.body
    upload = files.enter_context(_opened(request.upload, progress))
    if request.fields is None:
        return upload
    form = aiohttp.FormData(quote_fields=False)
    for name, value in request.fields:
        form.add_field(name, value)
    form.add_field("file", upload, filename=_file_name(request.upload), content_type=request.media_type)
    return form


def _opened(path: Path, progress: Progress) -> Upload:
    try:
        return Upload(path, progress)
    except OSError as error:
        raise RequestProblem("FileMissing", f"{path}: cannot be read ({error.strerror})") from error


def _file_name(path: Path) -> str:
    """As browsers write it: UTF-8, with what would end the header escaped."""
    name = path.name.encode("utf-8", "replace").decode("utf-8")
    for char in '"\r\n':
        name = name.replace(char, f"%{ord(char):02X}")
    return name


def _ssl(verify: bool | str) -> ssl.SSLContext | bool:
    """Raises ProcessorProblem where the CA bundle cannot be read."""
    if isinstance(verify, bool):
        return verify
    try:
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ProcessorProblem(f"verify: the CA bundle {verify} cannot be used ({reason})") from error
