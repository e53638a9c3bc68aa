"""Where a host keeps what is its own of a store on a server: locks, marks, spools."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

_SEARCH_PATH = re.compile(r"search_path\s*=\s*((?:[^\s\\]|\\.)+)")


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
    """The same for every way to log in to the same database: whatever the user, the password and the TLS options. A
    search path is a part of it, for a database may hold several stores."""
    given = conninfo_to_dict(url)
    usual = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults()}
    facts = []
    for name in ("host", "hostaddr", "port", "dbname", "service"):
        default = usual.get(name)
        facts.append(str(given.get(name) or (default.decode() if default else "")))
    path = _SEARCH_PATH.search(str(given.get("options") or ""))
    return blake2b("\n".join([*facts, path[1] if path else ""]).encode(), digest_size=8).hexdigest()
