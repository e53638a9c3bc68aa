"""Notes beside the store when a check ended, and, where it left nothing behind, what lets the next one be quick."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from batchctl import __version__, idle
from batchctl.config import Config
from batchctl.engines.base import Engine
from batchctl.engines.statements import migrations

_LONGEST = 24 * 3600.0  # seconds for which a note holds at most
_UNFINISHED = 600.0  # the same where batches are unfinished: alerts look at how long they have stood still
_SHARE = 24  # a retention of a day is looked after each hour


@dataclass(frozen=True, slots=True)
class LastCheck:
    """`ended_at` in ms UTC; `code` is the exit code of the last check that did not answer at once."""

    ended_at: int
    code: int


def write(engine: Engine, config: Config, code: int, *, named_by: str, nothing_left: bool, unfinished: int) -> None:
    """Note the end of a check. `named_by`: given (by flag or environment), config or default. Never fails."""
    quick = nothing_left and config.fixed and config.check.ping is None
    with suppress(OSError):
        note = {"code": code, "idle": _quick(engine, config, named_by, unfinished) if quick else None}
        folder = engine.private_folder()
        fresh = folder / f"{idle.NOTE}.{os.getpid()}"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(note).encode())
        finally:
            os.close(fd)
        fresh.replace(folder / idle.NOTE)


def last_check(engine: Engine) -> LastCheck | None:
    """When a check of this host last ended; None where none ever did."""
    path = engine.private_folder() / idle.NOTE
    try:
        return LastCheck(path.stat().st_mtime_ns // 1_000_000, int(json.loads(path.read_bytes())["code"]))
    except (OSError, ValueError, KeyError):
        return None


def _quick(engine: Engine, config: Config, named_by: str, unfinished: int) -> dict[str, Any] | None:
    path = getattr(engine, "path", None)
    if path is None:  # a server is asked by the full check
        return None
    now = time.time_ns() // 1_000_000
    rules = config.check.alerts
    return {
        "store": str(path),
        "schema": migrations("sqlite")[-1][0],
        "named_by": named_by,
        "version": __version__,
        "user": os.geteuid(),
        "config": idle.identity(config.path),
        "at": now,
        "until": now + round(_holds(config, unfinished) * 1000),
        "min_free": config.worker.min_free,
        "queue_rules": rules.queue_depth is not None or rules.oldest_pending is not None,
        "failure_rules": rules.failure_rate is not None,
    }


def _holds(config: Config, unfinished: int) -> float:
    """For how many seconds nothing changes by time alone."""
    ages = [age for age in config.check.retention.values() if age is not None]
    return min([_LONGEST, *([_UNFINISHED] if unfinished else []), *([min(ages) / _SHARE, 3600.0] if ages else [])])
