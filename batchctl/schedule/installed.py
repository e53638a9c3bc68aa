"""What `schedule --install` put in place, found again by its mark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchctl.errors import BatchctlError
from batchctl.schedule import crontab
from batchctl.schedule.job import DAY, HOUR, MINUTE, Job, Kind, Part
from batchctl.schedule.place import CRON_FOLDER, SYSTEM_UNITS, Cron, Systemd
from batchctl.schedule.units import calendar


@dataclass(frozen=True, slots=True)
class Installed:
    """One schedule. `every` in seconds; `since`: when it was put in place, in seconds, None where that cannot be
    told; `look`: how to see what it does."""

    kind: Kind
    part: Part
    place: str
    every: int
    since: float | None
    path: str | None
    look: str
    text: str


def installed(about: str, environ: Mapping[str, str]) -> list[Installed]:
    """Everything for that config (or store), of this user and of the machine."""
    job = Job(python="", options=(), about=about)
    return [*_units(job, environ), *_crontabs(job, environ)]


def _units(job: Job, environ: Mapping[str, str]) -> Iterator[Installed]:
    for folder, user in ((SYSTEM_UNITS, ""), (Systemd("user", environ).folder, "--user ")):
        for path in sorted(folder.glob("*-check.timer")) + sorted(folder.glob("*-worker.service")):
            text = _marked(path, job)
            if text is None:
                continue
            service = path.with_suffix(".service")
            text += _marked(service, job) or ""
            part: Part = "worker" if path.name.endswith("-worker.service") else "check"
            look = f"systemctl {user}status {path.name}, then journalctl {user}-u {service.stem}"
            yield Installed("systemd", part, str(path), _timer(text), path.stat().st_mtime, _path(text), look, text)


def _marked(path: Path, job: Job) -> str | None:
    with suppress(OSError, ValueError):
        text = path.read_text(encoding="utf-8")
        return text if text.startswith(job.marker + "\n") else None
    return None


def _timer(text: str) -> int:
    found = re.search(r"^OnCalendar=(.*)$", text, re.MULTILINE)
    intervals = [n * MINUTE for n in range(1, 60)] + [n * HOUR for n in range(1, 24)]
    return next((every for every in intervals if found and calendar(every) == found[1]), DAY)


def _path(text: str) -> str | None:
    found = re.search(r"^Environment=\"?PATH=([^\"\n]*)", text, re.MULTILINE)
    return found[1].replace("%%", "%") if found else None


def _crontabs(job: Job, environ: Mapping[str, str]) -> Iterator[Installed]:
    tables: list[tuple[str, str, float | None]] = []
    with suppress(BatchctlError):
        tables.append(("crontab -l", Cron("user", environ).table(job), _changed(environ)))
    for path in sorted(CRON_FOLDER.glob("*")):
        with suppress(OSError, ValueError):
            tables.append((str(path), path.read_text(encoding="utf-8"), path.stat().st_mtime))
    for place, table, since in tables:
        if crontab.has_job(table, job):
            inside = table.partition(job.marker)[2]
            line = next(line for line in inside.splitlines() if line and not line.startswith("#"))
            found = re.search(r"PATH=(\S+) ", line)
            look = "systemctl status cron, and the mail that cron sends"
            known = found[1].replace("\\%", "%") if found else None
            yield Installed("cron", "check", place, _fields(line), since, known, look, line)


def _fields(line: str) -> int:
    minute, hour = line.split()[:2]
    if "/" in minute:
        return int(minute.rpartition("/")[2]) * MINUTE
    if minute == "*":
        return MINUTE
    if "/" in hour:
        return int(hour.rpartition("/")[2]) * HOUR
    return HOUR if hour == "*" else DAY


def _changed(environ: Mapping[str, str]) -> float | None:
    """When this user's crontab was changed, where that may be seen."""
    user = environ.get("LOGNAME") or environ.get("USER") or "root"
    for folder in (Path("/var/spool/cron/crontabs"), Path("/var/spool/cron")):
        with suppress(OSError):
            return (folder / user).stat().st_mtime
    return None
