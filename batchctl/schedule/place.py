"""Puts units and crontab lines in place and takes them away. What does not carry our mark for this config is not
touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from batchctl.errors import BatchctlError, UsageError
from batchctl.schedule import crontab
from batchctl.schedule.job import Job, Part, Scope
from batchctl.schedule.units import started, units

SYSTEM_UNITS = Path("/etc/systemd/system")
CRON_FOLDER = Path("/etc/cron.d")


class Systemd:
    """The service manager of the machine or of this user."""

    def __init__(self, scope: Scope, environ: Mapping[str, str]) -> None:
        self._scope = scope
        self._environ = environ

    @property
    def folder(self) -> Path:
        if self._scope == "system":
            return SYSTEM_UNITS
        base = self._environ.get("XDG_CONFIG_HOME", "")
        home = Path(self._environ.get("HOME") or Path.home())
        return (Path(base) if base.startswith("/") else home / ".config") / "systemd" / "user"

    def install(self, job: Job, part: Part) -> list[Path]:
        """Write the units, enable and start. Raises UsageError where something else stands there, BatchctlError where
        systemd refuses."""
        self._reachable()
        texts = units(job, part)
        for name in texts:
            ours(self.folder / name, job)
        paths = [_write(self.folder / name, text, 0o644) for name, text in texts.items()]
        unit = started(job, part)
        self._call("daemon-reload")
        self._call("enable", unit)
        self._call("restart", unit)
        return paths

    def remove(self, job: Job, part: Part) -> list[Path]:
        """Stop, disable and delete; [] where there was nothing. Raises as `install` does."""
        paths = [self.folder / name for name in units(job, part) if ours(self.folder / name, job)]
        if not paths:
            return []
        problem = self._absence()
        self._call("disable", *([] if problem else ["--now"]), started(job, part))
        for path in paths:
            _delete(path)
        if problem is None:
            self._call("daemon-reload")
        return paths

    def _reachable(self) -> None:
        if problem := self._absence():
            raise UsageError(problem, hint="use `batchctl schedule cron`")

    def _absence(self) -> str | None:
        """Why nothing can be started; None where it can."""
        if shutil.which("systemctl", path=self._environ.get("PATH")) is None:
            return "systemd is not on this machine"
        whose = "this user's systemd" if self._scope == "user" else "systemd"
        done = _run(["systemctl", *self._words, "show", "--property=Version"], self._environ)
        return f"{whose} does not run: {' '.join(done.stderr.split())}" if done.returncode else None

    @property
    def _words(self) -> list[str]:
        return ["--user"] if self._scope == "user" else []

    def _call(self, *words: str) -> None:
        """Raises BatchctlError with what systemctl says."""
        done = _run(["systemctl", *self._words, *words], self._environ)
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
            raise BatchctlError(f"systemctl {' '.join([*self._words, *words])}: {said}")


class Cron:
    """This user's crontab, or a file in /etc/cron.d."""

    def __init__(self, scope: Scope, environ: Mapping[str, str]) -> None:
        self._scope = scope
        self._environ = environ

    def place(self, job: Job) -> Path | None:
        """The file; None for the user's crontab, which only `crontab` may touch."""
        return CRON_FOLDER / job.name.replace(".", "-") if self._scope == "system" else None

    def install(self, job: Job) -> list[Path]:
        path = self.place(job)
        if path is not None:
            if not path.parent.is_dir():
                raise _no_cron()
            ours(path, job)
            return [_write(path, crontab.lines(job), 0o644)]
        before = self._read()
        self._store(crontab.with_job(before, job))
        return []

    def remove(self, job: Job) -> bool:
        """False where there was nothing."""
        path = self.place(job)
        if path is not None:
            if not ours(path, job):
                return False
            _delete(path)
            return True
        before = self._read()
        if not crontab.has_job(before, job):
            return False
        self._store(crontab.without_job(before, job))
        return True

    def table(self, job: Job) -> str:
        """What is there now; empty where there is nothing. Raises UsageError where there is no cron."""
        path = self.place(job)
        if path is None:
            return self._read()
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def _read(self) -> str:
        if shutil.which("crontab", path=self._environ.get("PATH")) is None:
            raise _no_cron()
        done = _run(["crontab", "-l"], self._environ)
        if done.returncode and "no crontab" not in done.stderr:
            raise BatchctlError(f"crontab -l: {' '.join(done.stderr.split())}")
        return done.stdout

    def _store(self, table: str) -> None:
        done = _run(["crontab", "-"] if table.strip() else ["crontab", "-r"], self._environ, table)
        if done.returncode:
            raise BatchctlError(f"crontab: {' '.join(done.stderr.split())}", hint="nothing was changed")


def _no_cron() -> UsageError:
    return UsageError("cron is not on this machine", hint="apt install cron, or use `batchctl schedule systemd`")


def ours(path: Path, job: Job) -> bool:
    """Whether that file is this job's; False where there is none. Raises UsageError where it is anybody else's."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if first == job.marker:
        return True
    whose = first.removeprefix("# Made by `batchctl schedule` for ")
    what = f"is for {whose}" if whose != first else "was not made by `batchctl schedule`"
    raise UsageError(f"{path} {what}, and was left alone", hint="choose another name with --name")


def _write(path: Path, text: str, mode: int) -> Path:
    """Whole or not at all. Raises UsageError where that may not be."""
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.chmod(mode)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise _refused(path, error) from error
    return path


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> UsageError:
    hint = "run it as root, or use --scope user" if isinstance(error, PermissionError) else None
    return UsageError(f"{path} cannot be changed: {error.strerror}", hint=hint)


def _run(words: list[str], environ: Mapping[str, str], given: str = "") -> subprocess.CompletedProcess[str]:
    env = {**environ, "LC_ALL": "C", "SYSTEMD_PAGER": ""}
    return subprocess.run(words, env=env, input=given, capture_output=True, text=True, check=False)  # noqa: S603


def linger(environ: Mapping[str, str]) -> bool | None:
    """Whether this user's services run without a login; None where that cannot be told."""
    program = shutil.which("loginctl", path=environ.get("PATH"))
    if program is None:
        return None
    done = _run([program, "show-user", str(os.getuid()), "--property=Linger"], environ)
    return done.stdout.strip() == "Linger=yes" if done.returncode == 0 else None
