"""What a message says: a subject that tells all, counts, duration, the most frequent errors, the next command. Pure.

Texts of items (keys, errors, names) are somebody else's: they are cut, stay on one line, and are escaped in HTML.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from html import escape
from typing import Any, Literal

from batchctl.announce import Alert, BatchEnd, FailureGroup
from batchctl.duration import iso
from batchctl.patterns import fold

Kind = Literal["success", "warning", "failure", "info"]

_KINDS: dict[str, Kind] = {
    "completed": "success",
    "completed_with_errors": "warning",
    "failed": "failure",
    "cancelled": "warning",
}
_VERBS = {
    "completed": "is done",
    "completed_with_errors": "is done, with errors",
    "failed": "has failed",
    "cancelled": "was cancelled",
}
_ERRORS = 3
_NAME, _MESSAGE = 80, 200  # characters that a name, an error may have


@dataclass(frozen=True, slots=True)
class Message:
    """All that is sent, and what fills in the target's address; as the outbox keeps it.

    key        random; targets that know repeats get it as their idempotency key
    names      what the address' template sees
    facts      for webhooks: names and plain values
    recipient  for people; without secrets
    """

    key: str
    kind: Kind
    subject: str
    text: str
    html: str
    names: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    recipient: str = ""

    def encoded(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    @staticmethod
    def decoded(data: bytes) -> Message:
        """Raises ValueError for what is no message (somebody tampered with the store)."""
        try:
            return Message(**json.loads(data))
        except TypeError as error:
            raise ValueError(f"not a message: {error}") from None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A message before it is laid out: lines, facts with their labels, errors, commands with what they do."""

    subject: str
    lead: str
    rows: Sequence[tuple[str, str]]
    errors_title: str = ""
    errors: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()


def of_batch(end: BatchEnd, *, key: str, mask: Callable[[str], str] = str) -> Message:
    """The message about the end of a batch."""
    parts = _batch_parts(end)
    facts = {
        "event": end.event,
        "batch": end.id,
        "name": end.name or "",
        "processor": end.processor,
        "organization": end.organization,
        "user": end.user or "",
        "run_no": end.run_no,
        "total_items": end.total,
        "completed_items": end.completed,
        "failed_items": end.failed,
        "cancelled_items": end.cancelled,
    }
    names = {"event": end.event, "processor": end.processor, "batch": _batch_names(end)}
    return _message(parts, _KINDS.get(end.event, "info"), key, names, facts, mask)


def of_alert(alert: Alert, *, key: str, mask: Callable[[str], str] = str) -> Message:
    """The message about an alert. There is no batch: `batch.user` and the like are empty in the address."""
    told = one_line(alert.message, 500)
    rows = [("Alert", alert.name)]
    rows += [("Processor", one_line(alert.processor, _NAME))] if alert.processor else []
    rows += [("Organization", one_line(alert.organization, _NAME))] if alert.organization else []
    rows += [("Since", _local(alert.since))] if alert.since is not None else []
    commands = [("Look closer", alert.command)] if alert.command and alert.raised else []
    parts = _Parts(one_line(f"{'alert' if alert.raised else 'over'}: {told}", 160), told, rows, commands=commands)
    facts = {"event": "alert", "alert": alert.name, "raised": alert.raised, "processor": alert.processor or ""}
    return _message(parts, "failure" if alert.raised else "info", key, alert_names(alert), facts, mask)


def of_test(*, key: str, user: str) -> Message:
    """The message of `notify test`."""
    lead = "This is a test: messages of batchctl arrive here."
    parts = _Parts("batchctl: a test message", lead, [("Sent by", one_line(user, _NAME))])
    return _message(parts, "info", key, test_names(user), {"event": "test"}, str)


def alert_names(alert: Alert) -> dict[str, Any]:
    batch = dict.fromkeys(("id", "name", "user", "kind", "created_at", "total_items"), "")
    names = batch | {"organization": alert.organization or ""}
    return {"event": "alert", "processor": alert.processor or "", "batch": names}


def test_names(user: str) -> dict[str, Any]:
    batch = {"id": "btest", "name": "test", "organization": "", "user": user, "kind": "orders"}
    return {"event": "test", "processor": "test", "batch": batch | {"created_at": "", "total_items": 0}}


def _batch_names(end: BatchEnd) -> dict[str, Any]:
    return {
        "id": end.id,
        "name": one_line(end.name or ""),
        "organization": end.organization,
        "user": one_line(end.user or ""),
        "kind": end.kind,
        "created_at": iso(end.created_at),
        "total_items": end.total,
    }


def _batch_parts(end: BatchEnd) -> _Parts:
    title = one_line(end.name, _NAME) if end.name else end.id
    rows = [("Batch", end.id), ("Items", _counts(end, all_of_them=True)), ("Processor", one_line(end.processor, _NAME))]
    rows += [("Organization", one_line(end.organization, _NAME))] if end.organization else []
    rows += [("Submitted by", one_line(end.user, _NAME))] if end.user else []
    rows += [("Duration", f"{span(end.at - end.begun_at)}, until {_local(end.at)}")]
    rows += [("Run", f"{end.run_no} (some items were tried again)")] if end.run_no > 1 else []
    looked = f" among the first {end.looked_at:,} failures" if end.looked_at < end.failed else ""
    return _Parts(
        subject=f"{title}: {_counts(end)}",
        lead=f"{title} {_VERBS.get(end.event, end.event)}: {_counts(end)}.",
        rows=rows,
        errors_title=f"Most frequent errors{looked}",
        errors=[_error(group) for group in end.failures[:_ERRORS]],
        commands=_commands(end),
    )


def _error(group: FailureGroup) -> str:
    what = one_line(f"{group.type}: {group.message if group.count == 1 else fold(group.message)}")
    return f"{group.count:,} × {what} (for example {one_line(group.key, _NAME)})"


def _commands(end: BatchEnd) -> list[tuple[str, str]]:
    if end.failed:
        return [("See what failed", f"batchctl errors {end.id}"), ("Try it again", f"batchctl retry {end.id} --run")]
    if end.completed:
        return [("See the results", f"batchctl results {end.id}")]
    return [("See what happened", f"batchctl history {end.id}")]


def _counts(end: BatchEnd, *, all_of_them: bool = False) -> str:
    """ "486 completed, 14 failed"; numbers that are nought are left out."""
    parts = [(end.completed, "completed"), (end.failed, "failed"), (end.cancelled, "cancelled")]
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count) or "no items"
    return f"{told} of {end.total:,}" if all_of_them else told


def _message(
    parts: _Parts,
    kind: Kind,
    key: str,
    names: dict[str, Any],
    facts: dict[str, Any],
    mask: Callable[[str], str],
) -> Message:
    told = {name: mask(one_line(value)) if isinstance(value, str) else value for name, value in facts.items()}
    return Message(key, kind, mask(parts.subject), mask(_text(parts)), mask(_html(parts)), names, told)


def _text(parts: _Parts) -> str:
    wide = max((len(label) for label, _ in [*parts.rows, *parts.commands]), default=0) + 2
    blocks = [parts.lead, "\n".join(f"{label + ':':{wide}}{value}" for label, value in parts.rows)]
    if parts.errors:
        blocks.append("\n".join([f"{parts.errors_title}:", *(f"  {line}" for line in parts.errors)]))
    if parts.commands:
        blocks.append("\n".join(f"{label + ':':{wide}}{command}" for label, command in parts.commands))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _html(parts: _Parts) -> str:
    """Plain elements that survive being turned into other formats, such as a chat's."""
    blocks = [f"<p><b>{escape(parts.lead)}</b></p>", _list(f"{label}: {value}" for label, value in parts.rows)]
    if parts.errors:
        blocks += [f"<p><b>{escape(parts.errors_title)}</b></p>", _list(parts.errors)]
    blocks += [f"<p>{escape(label)}: <code>{escape(command)}</code></p>" for label, command in parts.commands]
    return "\n".join(blocks)


def _list(lines: Any) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def one_line(text: str, limit: int = _MESSAGE) -> str:
    """The text on one line without anything that could steer a screen or a header, at most `limit` characters."""
    clean = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def span(ms: int) -> str:
    """A duration in at most two units: "3 min 10 s"."""
    seconds = max(0, ms) // 1000
    for size, unit, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            return f"{whole} {unit} {rest // below} {part}" if rest // below else f"{whole} {unit}"
    return f"{seconds} s" if seconds else "less than a second"


def _local(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
