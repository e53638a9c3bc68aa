"""The config, the files it names, and what of it a schedule's bare environment lacks."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from batchctl.config import CommandSpec, examine
from batchctl.doctor.base import Finding, Level, Patient, check
from batchctl.errors import ConfigError
from batchctl.schedule.survey import CRON_PATH, bare_environment, lacking, programs, search_path

_UNSET = re.compile(r"environment variable (\w+) is not set")
_CREDENTIAL = re.compile(r"^LoadCredential=(\w+):", re.MULTILINE)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@check
def _config(patient: Patient) -> Iterator[Finding]:
    if patient.refused is not None:
        reasons = "; ".join([patient.refused.message, *patient.refused.details])
        yield Finding("config", "problem", reasons, patient.refused.hint)
        return
    handed = _handed(patient)
    serious = 0
    for problem in patient.problems:
        name = _UNSET.search(problem.text)
        if name and name[1] in handed:
            yield Finding(
                "config", "warning", f"{name[1]} is not set in this shell; the service has it as a credential"
            )
            continue
        serious += problem.level != "warning"
        yield Finding("config", "warning" if problem.level == "warning" else "problem", str(problem), None)
    config = patient.config
    if config is None:
        return
    if config.path is None:
        yield Finding("config", "ok", "no config file: the defaults hold", None)
    elif not serious:
        count = len(config.processors)
        yield Finding("config", "ok", f"{config.path}, {count} processor{'' if count == 1 else 's'}")


@check
def _config_folder(patient: Patient) -> Iterator[Finding]:
    """Whoever may replace the config runs commands as us."""
    if patient.config is None or patient.config.path is None:
        return
    folder = patient.config.folder
    facts = folder.stat()
    if facts.st_mode & stat.S_IWOTH and not facts.st_mode & stat.S_ISVTX:
        text = f"everybody may write the folder {folder}, and so replace the config"
        yield Finding("permissions", "problem", text, f"chmod o-w {folder}")


@check
def _secret_files(patient: Patient) -> Iterator[Finding]:
    """Files of secrets that others may read."""
    if patient.config is None or patient.config.path is None:
        return
    for path in (*patient.config.env_files, *sorted((patient.config.folder / "credentials").glob("*"))):
        if path.is_file() and path.stat().st_mode & _OTHERS:
            yield Finding("permissions", "warning", f"others may read {path}", f"chmod 600 {path}")


@check
def _secrets(patient: Patient) -> Iterator[Finding]:
    """As cron runs it: an empty environment."""
    config = patient.config
    if config is None or config.path is None:
        return
    absent = lacking(config.path)
    handed = _handed(patient)
    bad = [name for name in absent if name not in handed]
    for name in bad:
        mend = f"write {name}=… into env_file, or under systemd its value into {config.folder}/credentials/{name}"
        here = "it is set in this shell alone" if name in patient.environ else "it is not set here either"
        level: Level = "problem" if patient.installed or name not in patient.environ else "warning"
        yield Finding("secrets", level, f"a schedule does not know {name}: {here}", mend)
    if patient.environ.get("BATCHCTL_STORE") and not any("--store" in one.text for one in patient.installed):
        text = "BATCHCTL_STORE is set in this shell, and a schedule does not know it"
        yield Finding("secrets", "warning", text, "write `store:` into the config, or install the schedule anew")
    if not bad and not _lost_in_bare(patient):
        yield Finding("secrets", "ok", "an empty environment has all that the config wants")
    yield from _lost_in_bare(patient)


def _handed(patient: Patient) -> set[str]:
    """The variables that every schedule of this config gets as credentials."""
    found = [set(_CREDENTIAL.findall(one.text)) for one in patient.installed]
    return set.intersection(*found) if found else set()


def _lost_in_bare(patient: Patient) -> list[Finding]:
    """What goes wrong with the config in a bare environment, and not here, beside missing variables."""
    config = patient.config
    assert config is not None
    home = patient.environ.get("HOME", str(Path.home()))
    try:
        _, problems = examine(config.path, bare_environment(home, "me"), Path("/"), deep=False)
    except ConfigError as error:
        return [Finding("secrets", "problem", f"in a bare environment: {error.message}", error.hint)]
    known = {problem.text for problem in patient.problems}
    lost = [one for one in problems if one.text not in known and "environment variable" not in one.text]
    return [Finding("secrets", "problem", f"in a bare environment: {one.text}") for one in lost]


@check
def _programs(patient: Patient) -> Iterator[Finding]:
    """Commands that cannot be found, here or on the schedule's PATH."""
    config = patient.config
    if config is None:
        return
    here = patient.environ.get("PATH", os.defpath)
    there = next((one.path for one in patient.installed if one.path), CRON_PATH)
    names = programs(config)
    found = 0
    for name in names:
        if shutil.which(name, path=here) is None and shutil.which(name, path=there) is None:
            yield Finding("programs", "problem", f"{name} is not on PATH", "install it, or name it by its full path")
        elif shutil.which(name, path=there) is None:
            mend = "name it by its full path, or `batchctl schedule … --install`, which writes the PATH along"
            level: Level = "problem" if patient.installed else "warning"
            text = f"{name} is in {search_path(config, patient.environ).split(':')[0]}, which is not on the PATH of "
            text += "the schedule" if patient.installed else f"cron ({CRON_PATH})"
            yield Finding("programs", level, text, mend)
        else:
            found += 1
    for processor in (part for whole in config.processors.values() for part in whole.parts):
        spec = processor.spec
        if isinstance(spec, CommandSpec) and "/" in spec.argv[0] and "{" not in spec.argv[0]:
            path = spec.cwd / Path(str(spec.argv[0])).expanduser()
            if not os.access(path, os.X_OK):
                mend = f"chmod +x {path}" if path.exists() else f"put it there, or change processors.{processor.name}"
                yield Finding("programs", "problem", f"{path} cannot be run", mend)
            else:
                found += 1
        if isinstance(spec, CommandSpec) and not os.access(spec.cwd, os.R_OK | os.X_OK):
            text = f"{processor.name} runs in {spec.cwd}, which is not there or may not be entered"
            yield Finding("permissions", "problem", text, f"mkdir -p {spec.cwd}, or change its `cwd:`")
    if found:
        yield Finding("programs", "ok", f"{found} found")
