"""What the screen is like: set once by the CLI, read by everything that prints."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TextIO


@dataclass
class Settings:
    """The options that decide how things are printed, and whether anything of the answer was printed yet."""

    quiet: bool = False
    verbose: int = 0
    json: bool = False
    no_color: bool = False
    wrote: bool = False


settings = Settings()


def reset() -> None:
    """Back to the defaults, before a command line is read."""
    settings.__dict__.update(vars(Settings()))


def fancy(stream: TextIO | None) -> bool:
    """Whether `stream` gets colour, boxes and bars: a terminal that can, and nobody asked for plain text."""
    if settings.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("dumb", ""):
        return False
    return is_terminal(stream)


def is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def width(stream: TextIO | None = None) -> int | None:
    """Columns of the terminal, None where the output is no terminal and lines may be as long as they are."""
    if not is_terminal(stream or sys.stdout):
        return None
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def interactive() -> bool:
    """Whether there is a person who can answer a question."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def make_safe_streams() -> None:
    """No character may make a print fail, whatever the locale's encoding is, nor that a stream is closed (`>&-`)."""
    sys.stdout = sys.stdout or _nowhere(1)
    sys.stderr = sys.stderr or _nowhere(2)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _nowhere(fd: int) -> TextIO:
    """A stream whose text is lost. It has the number that a child takes for this stream, where nothing else has."""
    found = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(fd)
    except OSError:
        os.dup2(found, fd)
        os.close(found)
        found = fd
    return os.fdopen(found, "w", encoding="utf-8")
