"""What an answer means for its item: the processor's own rules first, then HTTP's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from batchctl.config.structs import HttpSpec
from batchctl.model import Broken, Completed, Down, Failed, ItemError, Outcome
from batchctl.processors.http_answer import BROKEN, DOWN, RETRIED, THROTTLED, Answer
from batchctl.processors.retry_after import retry_after
from batchctl.template import TemplateError, expression

Names = Mapping[str, Any]
Rule = Callable[[Names], Any]


class Rules:
    """`permanent_if`, then `retry_if`, then `success`, then the status decides; `result` makes the item's result.

    A rule that cannot be worked out for an answer (`body.flag` of a proxy's HTML page) does not hold.
    """

    def __init__(self, name: str, spec: HttpSpec) -> None:
        where = f"{name}.http"
        self._permanent_if = _rule(spec.permanent_if, f"{where}.permanent_if")
        self._retry_if = _rule(spec.retry_if, f"{where}.retry_if")
        self._success = _rule(spec.success, f"{where}.success")
        self._result = _rule(spec.result, f"{where}.result")
        self._plain = not any((self._permanent_if, self._retry_if, self._success, self._result))

    def judge(self, answer: Answer, scope: Names) -> Outcome:
        """Completed, or the failure in words. The messages may hold secrets; the caller masks them."""
        if self._plain:
            return Completed(answer.body) if 200 <= answer.status < 300 else by_status(answer)
        names = {**scope, **answer.names()}
        if _holds(self._permanent_if, names):
            return _failed(answer, "Refused", "", permanent=True)
        if _holds(self._retry_if, names):
            return _failed(answer, "NotReady", "", permanent=False)
        succeeded = 200 <= answer.status < 300 if self._success is None else _holds(self._success, names)
        return self._completed(answer, names) if succeeded else by_status(answer)

    def _completed(self, answer: Answer, names: Names) -> Outcome:
        if self._result is None:
            return Completed(answer.body)
        try:
            return Completed(self._result(names))
        except TemplateError as error:
            # The receiver did it: to ask again would do it again, and hear the same answer.
            return Failed(ItemError("ResultError", f"{answer.line}, but {error.message}", permanent=True))


def by_status(answer: Answer) -> Outcome:
    """The meaning of a status where no rule of the processor said otherwise."""
    status = answer.status
    if status in BROKEN:
        return Broken(ItemError("AccessDenied", _message(answer, f" from {answer.origin}")))
    if status in DOWN:
        return Down(ItemError("HttpStatus", _message(answer)), answer.origin, _earliest(answer))
    if status == THROTTLED:
        return replace(_failed(answer, "HttpStatus", "", permanent=False), throttled=True)
    if status in RETRIED or status >= 500:
        return _failed(answer, "HttpStatus", "", permanent=False)
    if 200 <= status < 300:
        return _failed(answer, "NotSuccessful", " without success", permanent=True)
    if 300 <= status < 400:
        return _failed(answer, "Redirected", ", which is not followed for this method", permanent=True)
    return _failed(answer, "HttpStatus", "", permanent=True)


def _rule(source: Any, where: str) -> Rule | None:
    return None if source is None else expression(source, where=where)


def _holds(rule: Rule | None, names: Names) -> bool:
    if rule is None:
        return False
    try:
        return bool(rule(names))
    except TemplateError:
        return False


def _failed(answer: Answer, kind: str, aside: str, *, permanent: bool) -> Failed:
    error = ItemError(kind, _message(answer, aside), permanent)
    return Failed(error, retry_after=None if permanent else _earliest(answer))


def _message(answer: Answer, aside: str = "") -> str:
    explanation = answer.explanation()
    return f"{answer.line}{aside}: {explanation}" if explanation else f"{answer.line}{aside}"


def _earliest(answer: Answer) -> float | None:
    return retry_after(answer.headers, datetime.now(UTC))
