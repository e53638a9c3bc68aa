"""Doing a transaction again that was ended from outside: by a deadlock, a lost connection, a server that restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from batchctl.errors import StoreInterrupted

if TYPE_CHECKING:
    from batchctl.engines.base import Engine, Tx

_P = ParamSpec("_P")
_T = TypeVar("_T")

PATIENCE = 60.0  # seconds
LONGEST_PAUSE = 2.0  # seconds
SHORT = 3.0  # seconds for which somebody who waits for an answer is kept waiting for a server


def again(act: Callable[_P, _T]) -> Callable[_P, _T]:
    """Call `act` again, after growing pauses, for as long as it ends in StoreInterrupted and PATIENCE lasts.

    For functions with one transaction: an error out of that means that nothing of it was stored. What they change
    beside the store they must change anew each time. Within another transaction (a question inside of a snapshot)
    nothing is done again: that is for who began it."""

    @wraps(act)
    def patient(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return act(*args, **kwargs)
        except StoreInterrupted as error:
            if error.within:
                raise
            return _retrying(PATIENCE, partial(act, *args, **kwargs))

    return patient


@again
def snapshot(engine: Engine, ask: Callable[[Tx], _T]) -> _T:
    """What `ask` answers from one consistent snapshot. Where that is lost, all of it is asked again in a new one."""
    with engine.read() as tx:
        return ask(tx)


def patiently(act: Callable[[], _T], seconds: float, waits: Callable[[StoreInterrupted], None] = lambda _: None) -> _T:
    """What `act` returns, tried for so many seconds. `waits` is told the first error, where it is not the end."""
    end = time.monotonic() + seconds
    try:
        return act()
    except StoreInterrupted as error:
        left = end - time.monotonic()
        if left <= 0:  # the attempt itself took that long: nobody answers there
            raise
        waits(error)
    return _retrying(left, act)


def _retrying(seconds: float, act: Callable[[], _T]) -> _T:
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StoreInterrupted),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=LONGEST_PAUSE),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )
    return retrying(act)
