"""Where a host keeps what is its own of a store on a server: locks, marks, spools."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


def private_folder(url: str) -> Path:
    """`$STATE_DIRECTORY` (set by systemd), `$XDG_STATE_HOME/batchctl` or `~/.local/state/batchctl`, and in it a folder
    (0700) for this database."""
    folder = _state() / f"{_mark(url)}.run"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _state() -> Path:
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()) / "batchctl"


def _mark(url: str) -> str:
    """The same for every way to log in to the same database."""
    parts = urlsplit(url)
    place = parts._replace(scheme="postgresql", netloc=parts.netloc.rpartition("@")[2], fragment="")
    return blake2b(urlunsplit(place).encode(), digest_size=8).hexdigest()
