"""One attempt: an item becomes a request, the request gets an answer, the answer becomes an Outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchctl.config.structs import HttpSpec, ProcessorConfig
from batchctl.masking import Masker
from batchctl.model import Cancelled, Completed, Failed, HandedBack, Item, ItemError, Outcome
from batchctl.processors.base import Context
from batchctl.processors.files import check
from batchctl.processors.http_answer import Answer
from batchctl.processors.http_client import Client
from batchctl.processors.http_errors import explain
from batchctl.processors.http_request import Request, RequestBuilder
from batchctl.processors.http_rules import Rules
from batchctl.template import TemplateError, scope

_MESSAGE = 400  # characters
_LOGGED = 4096


class HttpCall:
    """Makes the attempts of one processor, in the event loop. Raises ConfigError where its templates are wrong."""

    def __init__(self, config: ProcessorConfig, secrets: Mapping[str, Any], masker: Masker) -> None:
        assert isinstance(config.spec, HttpSpec)
        self._spec = config.spec
        self._timeout = config.timeout
        self._secrets = secrets
        self._masker = masker
        self._builder = RequestBuilder(config, config.spec)
        self._rules = Rules(config.name, config.spec)
        self._client = Client(config.spec, config.timeout)

    async def attempt(self, item: Item, context: Context) -> Outcome:
        """Never raises, but for its own cancellation."""
        request = None
        try:
            context.started()
            if item.file is not None and (wrong := await asyncio.to_thread(check, item.file)):
                return self._masked(Failed(wrong))
            names = scope(item, secrets=self._secrets, steps={}, now=time.time_ns() // 1_000_000)
            request = self._builder.build(item, names)
            async with asyncio.timeout(self._timeout):
                answer = await self._client.exchange(request, context.progress)
            return self._ended(self._rules.judge(answer, names), request, answer)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this item its try, and nothing else
            return self._masked(self._failure(error, request))

    def _ended(self, outcome: Outcome, request: Request, answer: Answer) -> Outcome:
        if not isinstance(outcome, Completed):
            return self._masked(outcome, _log(request, answer))
        return outcome if self._masker.empty else replace(outcome, result=self._masker.value(outcome.result))

    async def close(self) -> None:
        await self._client.close()

    def _failure(self, error: Exception, request: Request | None) -> Outcome:
        if isinstance(error, TemplateError):
            return Failed(ItemError("TemplateError", error.message, permanent=True))
        origin = "the receiver" if request is None else request.origin
        found = explain(error, origin, self._timeout, self._spec.on_unknown)
        return found or Failed(ItemError(type(error).__name__, str(error) or "the request could not be made"))

    def _masked(self, outcome: Outcome, log: str = "") -> Outcome:
        if isinstance(outcome, Completed | Cancelled | HandedBack):
            return outcome
        message = _cut(self._masker(outcome.error.message), _MESSAGE)
        return replace(outcome, error=replace(outcome.error, message=message), log=_cut(self._masker(log), _LOGGED))


def _log(request: Request, answer: Answer) -> str:
    """What `logs ITEM` shows of a failed try: the request's line and the answer, without what answers keep secret."""
    lines = [f"{request.method} {request.url}", answer.line]
    lines += [f"{name}: {'***' if name == 'set-cookie' else value}" for name, value in answer.headers.items()]
    return "\n".join([*lines, "", answer.text()])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
