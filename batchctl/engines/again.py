"""Doing a transaction again that was ended from outside: by a deadlock, a lost connection, a server that restarts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from batchctl.errors import StoreInterrupted

_P = ParamSpec("_P")
_T = TypeVar("_T")

PATIENCE = 60.0  # seconds
LONGEST_PAUSE = 2.0  # seconds


def again(act: Callable[_P, _T]) -> Callable[_P, _T]:
    """Call `act` again, after growing pauses, for as long as it ends in StoreInterrupted and PATIENCE lasts.

    For functions with one transaction: an error out of that means that nothing of it was stored. What they change
    beside the store they must change anew each time."""

    @wraps(act)
    def patient(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return act(*args, **kwargs)
        except StoreInterrupted:
            return _retrying(act, *args, **kwargs)

    return patient


def _retrying(act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StoreInterrupted),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=LONGEST_PAUSE),
        stop=tenacity.stop_after_delay(PATIENCE),
        reraise=True,
    )
    return retrying(act, *args, **kwargs)
