"""What the program says of its own work: one line an event, for machines that read along.

Silent below warnings until a command asks for more. A line goes to standard error:

* logfmt, `event=… name=value`, on a pipe or terminal;
* the same behind the priority that journald understands, where standard error leads there (`$JOURNAL_STREAM`);
* one JSON object a line where that was chosen.

A line holds no secret: every value passes the config's masker first.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Literal, TextIO

Format = Literal["logfmt", "json"]


class Level(IntEnum):
    """As syslog and journald count: the lower, the more urgent."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


ERROR, WARNING, NOTICE, INFO, DEBUG = Level


@dataclass
class _Settings:
    threshold: Level = WARNING
    format: Format = "logfmt"
    mask: Callable[[str], str] = str
    stream: TextIO | None = None


_settings = _Settings()
_BARE = re.compile(r"[\w.:/@+,*%-]+")  # what needs no quotes


def configure(
    threshold: Level = WARNING,
    *,
    format: Format = "logfmt",  # noqa: A002 - what it is
    mask: Callable[[str], str] | None = None,
    stream: TextIO | None = None,
) -> None:
    """What is told from now on, and how. `mask` takes secrets out of a text; `stream`: standard error."""
    _settings.__dict__.update(vars(_Settings(threshold, format, mask or str, stream)))


def enabled(level: Level) -> bool:
    """Whether such a line would be written: asks before a costly one is made."""
    return level <= _settings.threshold


def log(level: Level, event: str, **fields: Any) -> None:
    """Write one event. Fields that are None are left out; `batch` and `item` are ids as people type them.

    Nothing that goes wrong with the stream stops the work.
    """
    if level <= _settings.threshold:
        _write(level, event, fields)


def takes_remarks() -> bool:
    """Whether every line on standard error has to be one of the log's: then what people read becomes one, too."""
    return _settings.format == "json"


def remark(level: Level, message: str, **fields: Any) -> None:
    """What else would be told to people, as an event `message`; whatever the threshold."""
    _write(level, "message", {"message": message, **fields})


def _write(level: Level, event: str, fields: Mapping[str, Any]) -> None:
    stream = _settings.stream or sys.stderr
    known = {name: _plain(value) for name, value in fields.items() if value is not None}
    with suppress(OSError, ValueError):
        stream.write(_line(level, event, known, stream))
        stream.flush()


def _plain(value: Any) -> Any:
    """Numbers and booleans stay, all else becomes a text without secrets."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3)
    return _settings.mask(str(value))


def _line(level: Level, event: str, fields: Mapping[str, Any], stream: TextIO) -> str:
    if _settings.format == "json":
        text = json.dumps({"time": _now(), "level": level.name.lower(), "event": event, **fields})
        return f"{prefix(level, stream)}{text}\n"
    pairs = {"event": event, **fields}
    if not to_journald(stream):  # which notes both by itself
        pairs = {"time": _now(), "level": level.name.lower(), **pairs}
    return prefix(level, stream) + " ".join(f"{name}={_value(value)}" for name, value in pairs.items()) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)  # also keeps it on one line, whatever is in it


def prefix(level: Level, stream: TextIO | None) -> str:
    """What tells journald how urgent a line is: `<4>`; nothing for any other reader."""
    return f"<{level:d}>" if to_journald(stream) else ""


def to_journald(stream: TextIO | None) -> bool:
    """Whether the stream is the one that systemd connected with the journal."""
    named = os.environ.get("JOURNAL_STREAM")
    if not named or stream is None:
        return False
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{facts.st_dev}:{facts.st_ino}"
