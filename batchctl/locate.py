"""Where the config file is, whether it may be trusted, and where the store is by default."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchctl.errors import ConfigError

NAME = "batchctl.yaml"
SYSTEM = Path("/etc/batchctl/config.yaml")
_LARGEST = 10_000_000


def find(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The config file to use, absolute; None where there is none. Raises ConfigError where a named one is missing."""
    if explicit is not None:
        # The command line hands over what the environment says, too.
        by_environment = str(explicit) == environ.get("BATCHCTL_CONFIG")
        return _named(explicit, cwd, "BATCHCTL_CONFIG" if by_environment else "--config")
    if given := environ.get("BATCHCTL_CONFIG"):
        return _named(Path(given), cwd, "BATCHCTL_CONFIG")
    return next((path for path in candidates(environ, cwd) if path.is_file()), None)


def candidates(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    """Where a config file is looked for, in order, when none is named."""
    yield from (folder / NAME for folder in _upwards(cwd, _home(environ)))
    base = environ.get("XDG_CONFIG_HOME", "")
    yield (Path(base) if base.startswith("/") else _home(environ) / ".config") / "batchctl" / "config.yaml"
    yield SYSTEM


def _named(path: Path, cwd: Path, source: str) -> Path:
    path = cwd / path.expanduser()
    if not path.is_file():
        reason = "is not a file" if path.exists() else "does not exist"
        raise ConfigError(f"the config file {path} (from {source}) {reason}", hint="`batchctl init` writes one")
    return Path(os.path.normpath(path))


def _upwards(cwd: Path, home: Path) -> Iterator[Path]:
    """The folder and those above it, up to the home folder. Others may plant files in a folder like /tmp: not there."""
    yield cwd
    if cwd == home:
        return
    for folder in cwd.parents:
        if not _writable_by_others(folder):
            yield folder
        if folder == home:
            return


def _writable_by_others(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True


def _home(environ: Mapping[str, str]) -> Path:
    given = environ.get("HOME", "")
    return Path(given) if given.startswith("/") else Path.home()


def read(path: Path, what: str) -> bytes:
    """The file's content. Raises ConfigError where it cannot be read or where others may write it."""
    try:
        with path.open("rb") as file:
            distrust(file.fileno(), path, what)
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise ConfigError(f"the {what} {path} is larger than 10 MB")
    return data


def distrust(fd: int, path: Path, what: str) -> None:
    """Raises ConfigError where somebody else could have written the open file: its commands run as us."""
    facts = os.fstat(fd)
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"the {what} {path} is refused: others may write it (mode {stat.S_IMODE(facts.st_mode):04o})",
            hint=f"chmod go-w {path}",
        )
    if facts.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"the {what} {path} is refused: it belongs to user id {facts.st_uid}, not to you or root",
            hint=f"chown it to the user that runs batchctl (id {os.geteuid()})",
        )


def default_store(environ: Mapping[str, str]) -> Path:
    """`$STATE_DIRECTORY/queue.db` under systemd, else `$XDG_STATE_HOME/batchctl/queue.db`."""
    service = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if service.startswith("/"):
        return Path(service) / "queue.db"
    state = environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state) / "batchctl" / "queue.db"
    from platformdirs import user_state_path

    return user_state_path("batchctl", appauthor=False) / "queue.db"
