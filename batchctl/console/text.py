"""Values as people read them: safe text, local times, durations, counts. Pure."""

from __future__ import annotations

import re
import textwrap
from datetime import datetime

# C0 and C1 controls, lone surrogates, and the marks that reorder or hide text on a screen.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str, *, keep: str = "") -> str:
    """The text with everything escaped that could break a screen; characters in `keep` stay as they are."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def json_safe(text: str) -> str:
    """JSON text whose strings hold nothing that could break a screen: the same JSON, more of it as `\\uXXXX`."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def when(ms: int | None, *, now: int | None = None) -> str:
    """A time in ms UTC as local time; without its date where that is the date of `now`; "-" for None."""
    if ms is None:
        return "-"
    local = datetime.fromtimestamp(ms / 1000).astimezone()
    if now is not None and local.date() == datetime.fromtimestamp(now / 1000).astimezone().date():
        return local.strftime("%H:%M:%S")
    return local.strftime("%Y-%m-%d %H:%M:%S")


def span(ms: float | None) -> str:
    """A duration in ms in at most two units: 812 ms, 4.2 s, 3 min 10 s, 2 h 5 min, 3 d 4 h; "-" for None."""
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            return f"{whole} {unit} {rest // below} {part}" if rest // below else f"{whole} {unit}"
    return f"{seconds:.0f} s"


def remaining(seconds: float) -> str:
    """A time that is left, no finer than a second: "< 1 s", "3 min 10 s"."""
    return "< 1 s" if seconds < 1 else span(max(10_000, seconds * 1000)) if seconds > 9.5 else f"{seconds:.0f} s"


def wrapped(text: str, width: int | None, *, hang: int = 2) -> str:
    """Each line of the text broken between words where it is longer than `width` (None: never); what is broken
    off is indented by `hang` more."""
    if width is None:
        return text
    return "\n".join(_fold(line, width, hang) if len(line) > width else line for line in text.split("\n"))


def _fold(line: str, width: int, hang: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.lstrip(),
        width,
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def number(value: int) -> str:
    """An integer with its thousands apart: 1,234,567."""
    return f"{value:,}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 item", "1,204 items"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(value: float | None) -> str:
    """ "99.9%"; never rounded up to 100."""
    if value is None:
        return "-"
    return f"{int(value)}%" if value in (0, 100) else f"{min(value, 99.9):.1f}%"


def shorten(text: str, width: int) -> str:
    """The text in at most `width` characters, its middle replaced by an ellipsis where it is longer."""
    if len(text) <= width:
        return text
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
