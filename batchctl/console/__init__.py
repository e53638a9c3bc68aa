"""The screen: the only place that prints. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from batchctl import journal
from batchctl.console.far import far
from batchctl.console.settings import (
    Settings,
    fancy,
    interactive,
    is_terminal,
    make_safe_streams,
    reset,
    settings,
    width,
)
from batchctl.console.tables import Column, table
from batchctl.console.text import json_safe, number, percent, plural, remaining, safe, shorten, span, when, wrapped
from batchctl.errors import BatchctlError
from batchctl.journal import ERROR, INFO, WARNING, Level, prefix

__all__ = [
    "Column", "Settings", "ask", "emit_json", "error", "facts", "fancy", "far", "interactive", "is_terminal",
    "json_text", "make_safe_streams", "note", "number", "out", "percent", "plural", "prose", "raw", "raw_bytes",
    "remaining", "reset", "safe", "settings", "shorten", "span", "state_style", "table", "title", "warn",
    "when", "width",
]  # fmt: skip


def out(text: str = "", *, style: str | None = None) -> None:
    """A line of the answer, to standard output; control characters but line ends and tabs are escaped."""
    _emit(sys.stdout, safe(text, keep="\n\t"), style)


def prose(text: str) -> None:
    """Sentences of the answer, to standard output, broken between words on a narrow screen."""
    out(wrapped(safe(text, keep="\n"), width(sys.stdout)))


def raw(text: str) -> None:
    """Text as it is, to standard output: a document in a format of its own, or what an item wrote."""
    settings.wrote = True
    sys.stdout.write(text)


def raw_bytes(content: bytes) -> None:
    """What an item wrote, byte for byte, to standard output; it stands there whole before anything else is written.

    Where nobody reads it any more, or nothing more fits: the work that it comes from goes on.
    """
    if not content:
        return
    settings.wrote = True
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as problem:
        if not isinstance(problem, BrokenPipeError):
            warn(f"the output is not shown from here on: {problem.strerror}; `batchctl results` has it")
        _silence(1)


def note(text: str, *, style: str | None = "dim") -> None:
    """A remark on standard error; nothing under --quiet."""
    if settings.quiet:
        return
    if journal.takes_remarks():
        journal.remark(INFO, text)
    else:
        _remark(text, style, INFO)


def warn(text: str) -> None:
    """A warning on standard error, also under --quiet."""
    if journal.takes_remarks():
        journal.remark(WARNING, text)
    else:
        _remark(f"warning: {text}", "yellow", WARNING)


def error(problem: BatchctlError) -> None:
    """A refusal, on standard error; with --json the contract's document on standard output."""
    if settings.json and not settings.wrote:
        what = {"code": problem.code, "type": problem.type, "message": problem.message}
        emit_json({"error": what | {"details": problem.details}})
        return
    if journal.takes_remarks():
        details = "; ".join(problem.details) or None
        journal.remark(ERROR, problem.message, type=problem.type, details=details, hint=problem.hint or None)
        return
    _remark(f"error: {problem.message}", "bold red", ERROR)
    for detail in problem.details:
        _remark(f"  {detail}", None, ERROR)
    if problem.hint:
        _remark(f"hint: {problem.hint}", "cyan", ERROR)


def emit_json(document: Any) -> None:
    """The one JSON document of a call with --json."""
    raw(json_text(document, indent=2 if is_terminal(sys.stdout) else None) + "\n")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON for standard output: readable characters where its encoding has them all, else escapes."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json_safe(json.dumps(value, ensure_ascii=not unicode, indent=indent))


def title(text: str) -> None:
    """The heading of a part of an answer."""
    out(text, style="bold")


def facts(pairs: Iterable[tuple[str, str | None]]) -> None:
    """Names and values, one pair a line, aligned; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    wide = max((len(name) for name, _ in shown), default=0)
    screen = width(sys.stdout)
    for name, value in shown:
        text = wrapped(safe(value), None if screen is None else max(20, screen - wide - 2), hang=0)
        text = text.replace("\n", "\n" + " " * (wide + 2))
        if fancy(sys.stdout):
            _rich(sys.stdout, [(f"{name:<{wide}}  ", "dim"), (text, state_style(value))])
        else:
            out(f"{name:<{wide}}  {text}")


def state_style(state: str) -> str | None:
    """The colour of a state's word, None for other words."""
    return {
        "completed": "green", "failed": "red", "cancelled": "yellow", "completed_with_errors": "yellow",
        "processing": "cyan", "waiting": "blue", "paused": "magenta",
    }.get(state.split(" ", 1)[0])  # fmt: skip


def ask(question: str) -> bool:
    """Yes or no, from a person at the terminal. Only where `interactive()`."""
    sys.stderr.write(f"{safe(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remark(text: str, style: str | None, level: Level) -> None:
    try:
        lines = wrapped(safe(text, keep="\n\t"), width(sys.stderr))
        if mark := prefix(level, sys.stderr):  # journald reads it at the start of each line
            lines = "\n".join(mark + line for line in lines.split("\n"))
        _emit(sys.stderr, lines, style)
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads standard error any more: the work goes on
        _silence(2)


def _silence(fd: int) -> None:
    """What goes there from now on, and what its buffer still holds, is lost."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, fd)
    os.close(devnull)


def _emit(stream: Any, text: str, style: str | None) -> None:
    if stream is sys.stdout:
        settings.wrote = True
    if style and fancy(stream):
        _rich(stream, [(text, style)])
    else:
        stream.write(text + "\n")


def _rich(stream: Any, parts: Iterable[tuple[str, str | None]]) -> None:
    from rich.console import Console
    from rich.text import Text

    if stream is sys.stdout:
        settings.wrote = True
    line = Text()
    for text, style in parts:
        line.append(text, style or "")
    Console(file=stream, highlight=False, soft_wrap=True).print(line)
