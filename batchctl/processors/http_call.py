"""One attempt: an item becomes a request, the request gets an answer, the answer becomes an Outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchctl.config.structs import HttpSpec, ProcessorConfig
from batchctl.masking import Masker
from batchctl.model import Cancelled, Completed, Down, Failed, HandedBack, Item, ItemError, Outcome
from batchctl.processors.base import Context, Done
from batchctl.processors.curl_loop import CurlLoop
from batchctl.processors.files import check
from batchctl.processors.http_answer import Answer
from batchctl.processors.http_client import Client, Exchange
from batchctl.processors.http_errors import explain
from batchctl.processors.http_request import Request, RequestBuilder
from batchctl.processors.http_rules import Rules
from batchctl.template import TemplateError, scope

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_MESSAGE = 400  # characters
_LOGGED = 4096
_CHECKERS = 4  # threads that read files to see whether they are still the same


class HttpCall:
    """What the attempts of one processor share. Raises ConfigError where its templates are wrong."""

    def __init__(
        self,
        config: ProcessorConfig,
        loop: CurlLoop,
        secrets: Mapping[str, Any],
        masker: Masker,
        closed: Callable[[str, int], ItemError | None],
    ) -> None:
        assert isinstance(config.spec, HttpSpec)
        self.spec = config.spec
        self.loop = loop
        self.secrets = secrets
        self.closed = closed
        self.builder = RequestBuilder(config, config.spec)
        self.rules = Rules(config.name, config.spec)
        self.client = Client(config.spec, config.timeout, loop)
        self._masker = masker
        self._checkers: ThreadPoolExecutor | None = None

    def check_file(self, attempt: Attempt) -> None:
        """Read the item's file beside the curl thread, then go on there."""
        if self._checkers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._checkers = ThreadPoolExecutor(_CHECKERS, thread_name_prefix="http-file")
        assert attempt.item.file is not None
        future = self._checkers.submit(check, attempt.item.file)
        future.add_done_callback(lambda done: self.loop.soon(attempt.checked, done.result()))

    def close(self) -> None:
        if self._checkers is not None:
            self._checkers.shutdown()

    def masked(self, outcome: Outcome, log: str = "") -> Outcome:
        """The outcome as it may be stored (promise 8)."""
        if isinstance(outcome, Completed):
            return outcome if self._masker.empty else replace(outcome, result=self._masker.value(outcome.result))
        if isinstance(outcome, Cancelled | HandedBack):
            return outcome
        message = _cut(self._masker(outcome.error.message), _MESSAGE)
        return replace(outcome, error=replace(outcome.error, message=message), log=_cut(self._masker(log), _LOGGED))

    def failure(self, error: Exception, request: Request | None) -> Outcome:
        if isinstance(error, TemplateError):
            return Failed(ItemError("TemplateError", error.message, permanent=True))
        origin = "the receiver" if request is None else request.origin
        found = explain(error, origin, self.client.timeout, self.spec.on_unknown)
        return found or Failed(ItemError(type(error).__name__, str(error) or "the request could not be made"))


class Attempt:
    """One item's try, in the curl thread. `done` is called once, whatever happens."""

    def __init__(self, call: HttpCall, item: Item, context: Context, done: Done) -> None:
        self.item = item
        self._call = call
        self._context = context
        self._done: Done | None = done
        self._names: dict[str, Any] = {}
        self._request: Request | None = None
        self._exchange: Exchange | None = None

    def begin(self) -> None:
        try:
            self._context.started()
            if self.item.file is None:
                self._send()
            else:
                self._call.check_file(self)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this item its try, and nothing else
            self._end(self._call.failure(error, self._request))

    def checked(self, wrong: ItemError | None) -> None:
        if self._done is None:
            return
        try:
            if wrong is None:
                self._send()
            else:
                self._end(Failed(wrong))
        except Exception as error:  # noqa: BLE001 - as above
            self._end(self._call.failure(error, self._request))

    def cancel(self, outcome: Outcome) -> None:
        """End it with this outcome, unless it has ended."""
        if self._exchange is not None and self._done is not None:
            self._exchange.cancel()
        self._end(outcome)

    def _send(self) -> None:
        call = self._call
        self._names = scope(self.item, secrets=call.secrets, steps=self.item.steps, now=time.time_ns() // 1_000_000)
        self._request = call.builder.build(self.item, self._names)
        if (down := call.closed(self._request.origin, self.item.number)) is not None:
            self._end(Down(down, self._request.origin, unsent=True))
            return
        self._exchange = call.client.send(self._request, self._context.progress, self._answered)

    def _answered(self, found: Answer | Exception) -> None:
        try:
            if isinstance(found, Exception):
                raise found
            outcome = self._call.rules.judge(found, self._names)
            if isinstance(outcome, Completed | Failed):
                outcome = replace(outcome, origin=found.origin)
            self._end(outcome, "" if isinstance(outcome, Completed) else _log(self._request, found))
        except Exception as error:  # noqa: BLE001 - as above
            self._end(self._call.failure(error, self._request))

    def _end(self, outcome: Outcome, log: str = "") -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self._call.masked(outcome, log))


def _log(request: Request | None, answer: Answer) -> str:
    """What `logs ITEM` shows of a failed try: the request's line and the answer, without what answers keep secret."""
    lines = [f"{request.method} {request.url}" if request else "", answer.line]
    lines += [f"{name}: {'***' if name == 'set-cookie' else value}" for name, value in answer.headers.items()]
    return "\n".join([*lines, "", answer.text()])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
