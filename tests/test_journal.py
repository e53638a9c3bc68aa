"""The tool's own log: one line an event, readable by machines, without secrets."""

from __future__ import annotations

import io
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchctl import journal
from batchctl.masking import Masker

TIME = re.compile(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    journal.configure()


def written(level: journal.Level, event: str, threshold: journal.Level = journal.DEBUG, **fields: object) -> str:
    stream = io.StringIO()
    journal.configure(threshold, stream=stream, mask=Masker(["open-sesame"]))
    journal.log(level, event, **fields)
    return stream.getvalue()


def test_a_line_is_logfmt() -> None:
    line = written(journal.INFO, "item_completed", batch="bq3k5", item=17, seconds=0.12345, counted=True, lane=None)
    assert TIME.sub("", line) == "level=info event=item_completed batch=bq3k5 item=17 seconds=0.123 counted=true\n"


def test_values_with_spaces_quotes_and_line_ends_stay_one_line() -> None:
    line = written(journal.ERROR, "phase_failed", error='no "such"\nhost = x\x1b[31m')
    assert TIME.sub("", line) == 'level=error event=phase_failed error="no \\"such\\"\\nhost = x\\u001b[31m"\n'
    assert TIME.sub("", written(journal.INFO, "x", key="")) == 'level=info event=x key=""\n'


def test_secrets_are_masked() -> None:
    line = written(
        journal.WARNING, "ping_failed", url="https://hc.example.com/open-sesame", error=ValueError("open-sesame")
    )
    assert "open-sesame" not in line
    assert line.count("***") == 2


@pytest.mark.parametrize("threshold", [journal.WARNING, journal.INFO, journal.DEBUG])
def test_what_is_less_urgent_is_not_told(threshold: journal.Level) -> None:
    told = [level for level in journal.Level if written(level, "x", threshold)]
    assert told == [level for level in journal.Level if level <= threshold]
    assert journal.enabled(threshold)
    assert not journal.enabled(journal.DEBUG) or threshold is journal.DEBUG


def test_json_lines() -> None:
    stream = io.StringIO()
    journal.configure(journal.INFO, format="json", stream=stream)
    journal.log(journal.INFO, "worker_started", worker="w1", slots=3, note="ä\n")
    journal.log(journal.WARNING, "other")
    first, second = stream.getvalue().splitlines()
    found = json.loads(first)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "info", "event": "worker_started", "worker": "w1", "slots": 3, "note": "ä\n"}
    assert json.loads(second)["level"] == "warning"


def test_journald_gets_a_priority_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        server.listen(1)
        client.connect(str(path))
        with server.accept()[0] as here, client.makefile("w", encoding="utf-8") as stream:
            facts = os.fstat(stream.fileno())
            monkeypatch.setenv("JOURNAL_STREAM", f"{facts.st_dev}:{facts.st_ino}")
            journal.configure(journal.INFO, stream=stream)
            journal.log(journal.WARNING, "disk_short", free=3)
            journal.log(journal.INFO, "check_ended")
            assert here.recv(1000) == b"<4>event=disk_short free=3\n<6>event=check_ended\n"
            monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # inherited by somebody whose standard error goes elsewhere
            journal.log(journal.WARNING, "disk_short")
            assert here.recv(1000).startswith(b"time=")


def test_a_stream_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    with (tmp_path / "closed").open("w") as stream:
        pass
    journal.configure(journal.INFO, stream=stream)
    journal.log(journal.INFO, "x")
