"""From a config to a Job: which paths, programs, folders and secrets the work needs on this machine."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchctl.config import CommandSpec, Config, ProcessorConfig, examine
from batchctl.errors import ConfigError, UsageError
from batchctl.schedule.job import Job, Scope

STANDARD_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
CRON_PATH = "/usr/bin:/bin"
_STATE_ROOT = Path("/var/lib")
_MACHINE = Path("/etc/machine-id")


def survey(
    config: Config,
    environ: Mapping[str, str],
    *,
    store: str | None = None,
    organization: str | None = None,
    name: str = "batchctl",
    scope: Scope = "user",
    user: str | None = None,
    every: int = 300,
    write: tuple[str, ...] = (),
    on_failure: str | None = None,
) -> Job:
    """The job of this config. `store` and `organization` are those of flag or environment; `user` runs it in the scope
    `system` (default: who owns the store). Raises UsageError where the user does not exist or a secret would show."""
    folder = store_folder(config, store, scope, name)
    options = (*_options(config, store, scope), *(("--org", organization) if organization else ()))
    about = str(config.path) if config.path else str(store or config.store)
    needed = [str(path) for path in (config.path, folder) if path] + code()
    state = _state(folder) if scope == "system" else None
    writable = [] if folder is None or state else [folder]
    writable += [path for path in (*_workplaces(config), *write) if not state or _state(path) != state]
    provided, absent = _credentials(config)
    return Job(
        python=sys.executable,
        options=options,
        about=about,
        name=name,
        scope=scope,
        user=_runner(config, folder, user) if scope == "system" else None,
        every=every,
        grace=config.worker.grace,
        path=search_path(config, environ),
        writable=tuple(_only_outermost(writable)),
        needed=tuple(_only_outermost(needed)),
        state=state,
        credentials=provided,
        absent=absent,
        on_failure=on_failure,
        offset=_offset(about),
    )


def store_folder(config: Config, store: str | None, scope: Scope, name: str) -> str | None:
    """The folder that holds the store; None where the store is on a server."""
    if store is None and config.store_from == "default" and scope == "system":
        return str(_STATE_ROOT / name)
    url = store or config.store
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "sqlite":
        return None
    return str(Path(rest if separator else url).expanduser().absolute().parent)


def _options(config: Config, store: str | None, scope: Scope) -> tuple[str, ...]:
    options = ["--config", str(config.path)] if config.path else []
    if store is None and (config.store_from == "config" or scope == "system"):
        return tuple(options)  # a system service's own default is in its state directory
    url = store or config.store
    if "://" in url and "@" in url and ":" in url.split("://", 1)[1].split("@", 1)[0]:
        raise UsageError(
            "the store's URL holds a password, which everybody could read in the schedule",
            hint="write `store:` into the config, with the password as ${NAME|url}",
        )
    return (*options, "--store", url if "://" in url else str(Path(url).expanduser().absolute()))


def code() -> list[str]:
    """Where the interpreter and this program lie: a service must see them."""
    own = Path(__file__).resolve().parent.parent.parent
    return [sys.prefix, str(Path(sys.executable).resolve().parent.parent), str(own)]


def _only_outermost(paths: list[str]) -> Iterator[str]:
    """Without those that lie in another one of them."""
    known = {os.path.normpath(path) for path in paths}
    for path in sorted(known):
        if not any(str(parent) in known for parent in Path(path).parents):
            yield path


def _workplaces(config: Config) -> Iterator[str]:
    """Folders that commands work in. What Python functions write is not known: the config's folder it may be."""
    for processor in _parts(config):
        if isinstance(processor.spec, CommandSpec):
            yield str(processor.spec.cwd)
        elif processor.kind == "python":
            yield str(processor.folder)


def _parts(config: Config) -> Iterator[ProcessorConfig]:
    """Every processor, of chains their steps."""
    return (part for processor in config.processors.values() for part in processor.parts)


def _state(folder: str | None) -> str | None:
    """The name below /var/lib that the service may own: only a folder right there."""
    if folder is None:
        return None
    path = Path(folder)
    return path.name if path.parent == _STATE_ROOT else None


def _runner(config: Config, folder: str | None, user: str | None) -> str:
    if user is not None:
        try:
            return pwd.getpwnam(user).pw_name
        except KeyError:
            hint = f"useradd --system --home-dir /var/lib/batchctl --shell /usr/sbin/nologin {user}"
            raise UsageError(f"--run-as: there is no user {user!r}", hint=hint) from None
    places = [folder, str(config.path) if config.path else None]
    for place in places:
        if place and Path(place).exists():
            return _name_of(Path(place).stat().st_uid)
    return _name_of(os.geteuid())


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def search_path(config: Config, environ: Mapping[str, str]) -> str:
    """$PATH for the schedule: the usual folders, behind those where this shell finds what they lack."""
    here = environ.get("PATH", os.defpath)
    extra: list[str] = []
    for program in programs(config):
        found = shutil.which(program, path=here)
        if found is None:
            continue
        folder = str(Path(found).parent)
        if folder.startswith("/") and shutil.which(program, path=":".join(STANDARD_PATH)) != found:
            extra.append(folder)
    return ":".join(dict.fromkeys([*extra, *STANDARD_PATH]))


def programs(config: Config) -> list[str]:
    """The commands that are looked for on $PATH."""
    found = {}
    for processor in _parts(config):
        if isinstance(processor.spec, CommandSpec) and processor.spec.argv:
            program = str(processor.spec.argv[0])
            if "/" not in program and "{{" not in program and "{%" not in program:
                found[program] = processor.name
    return list(found)


def bare_environment(home: str, user: str, path: str = CRON_PATH) -> dict[str, str]:
    """What cron gives a command."""
    return {"HOME": home, "LOGNAME": user, "USER": user, "SHELL": "/bin/sh", "PATH": path}


def _credentials(config: Config) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """(variables with a file that holds them, variables that nobody provides), each with that file."""
    folder = config.folder / "credentials"
    wanted = [(name, str(folder / name)) for name in lacking(config.path)] if config.path else []
    there = tuple(pair for pair in wanted if Path(pair[1]).exists())
    return there, tuple(pair for pair in wanted if pair not in there)


def lacking(path: Path) -> list[str]:
    """The environment variables that the config wants and that a bare environment, with its env_file, does not have."""
    try:
        config, _ = examine(path, {"HOME": str(Path.home())}, Path("/"), deep=False)
    except ConfigError:
        return []
    return list(config.absent) if config else []


def _offset(about: str) -> int:
    """A minute that differs from machine to machine and stays the same on each."""
    try:
        machine = _MACHINE.read_bytes().strip()
    except OSError:
        machine = os.uname().nodename.encode()
    return int.from_bytes(hashlib.blake2b(machine + about.encode(), digest_size=4).digest()) % 60
