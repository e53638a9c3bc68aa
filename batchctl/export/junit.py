"""JUnit XML: a suite a batch, a case an item, for CI systems that show test reports."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from batchctl.export.source import Source, error_text, line

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(out: BinaryIO, sources: list[Source]) -> None:
    line(out, '<?xml version="1.0" encoding="UTF-8"?>')
    line(out, "<testsuites>")
    for source in sources:
        _suite(out, source)
    line(out, "</testsuites>")


def _suite(out: BinaryIO, source: Source) -> None:
    batch = source.batch
    tests = failures = skipped = 0
    for row in source.rows():
        tests += 1
        failures += row.item["state"] == "failed"
        skipped += row.item["state"] not in ("completed", "failed")
    head = {
        "name": batch["name"] or batch["id"],
        "id": batch["id"],
        "timestamp": (batch["started_at"] or batch["created_at"])[:19],
        "tests": tests,
        "failures": failures,
        "errors": 0,
        "skipped": skipped,
    }
    line(out, f"<testsuite{_attributes(head)}>")
    for row in source.rows():
        _case(out, batch["processor"], row.item)
    line(out, "</testsuite>")


def _case(out: BinaryIO, processor: str, item: dict[str, Any]) -> None:
    head = {"classname": processor, "name": item["key"], "time": f"{(item['duration_ms'] or 0) / 1000:.3f}"}
    if item["state"] == "completed":
        line(out, f"  <testcase{_attributes(head)}/>")
        return
    line(out, f"  <testcase{_attributes(head)}>")
    if item["state"] == "failed":
        error = item["error"] or {"type": "Error", "message": ""}
        inner = _attributes({"type": error["type"], "message": error["message"].partition("\n")[0]})
        line(out, f"    <failure{inner}>{_text(error_text(item))}</failure>")
    else:
        line(out, f"    <skipped{_attributes({'message': item['state']})}/>")
    line(out, "  </testcase>")


def _attributes(values: dict[str, Any]) -> str:
    return "".join(f" {name}={_quoted(str(value))}" for name, value in values.items())


def _quoted(text: str) -> str:
    from xml.sax.saxutils import quoteattr

    return quoteattr(_ILLEGAL.sub("\ufffd", text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _text(text: str) -> str:
    from xml.sax.saxutils import escape

    return escape(_ILLEGAL.sub("\ufffd", text))
