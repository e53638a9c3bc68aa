"""An office for the tests of sending: a store, a config with notifications, and targets on a local web server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailserver import PASSWORD
from servers import HttpServer

from batchctl.config import Config, load
from batchctl.notify import ConfigAnnouncer, Sending, send_due
from batchctl.store import Store
from store.kit import Clock, Worker
from store.kit import load as enqueue

Peek = Callable[..., list[tuple[Any, ...]]]
MINUTE = 60_000


class Office:
    """A store, a config with notifications, and what ends batches."""

    def __init__(self, store: Store, worker: Worker, clock: Clock, peek: Peek, folder: Path) -> None:
        self.store, self.worker, self.clock, self.peek, self.folder = store, worker, clock, peek, folder
        self.environ = {"SMTP_PASSWORD": PASSWORD}
        self.config = Config(folder=folder, store="")

    def tells(self, *entries: dict[str, Any], secrets: dict[str, str] | None = None) -> Config:
        path = self.folder / "batchctl.yaml"
        path.write_text(json.dumps({"notifications": entries, "secrets": secrets or {}}))
        path.chmod(0o600)
        self.config = load(path, self.environ, self.folder)
        self.store.engine.announce_with(ConfigAnnouncer(self.config))
        return self.config

    def ends(self, *, fails: bool = False, **new: Any) -> int:
        (no,) = enqueue(self.store, 1, **({"user": "jo@example.org", "name": "june"} | new))
        (self.worker.fail if fails else self.worker.complete)(*self.worker.claim(1))
        return no

    def send(self) -> Sending:
        return send_due(self.store, self.config)

    def rows(self) -> list[tuple[Any, ...]]:
        return self.peek("SELECT target, state, attempts, error FROM outbox ORDER BY id")

    def states(self) -> list[str]:
        return [row[1] for row in self.rows()]


def hook(web: HttpServer, path: str = "hook", **more: Any) -> dict[str, Any]:
    return {"to": f"json://127.0.0.1:{web.port}/{path}", **more}


def resend(web: HttpServer, to: str = "{{ batch.user }}", **more: Any) -> dict[str, Any]:
    return {"to": f"resend://re_abcdef123456:robot@example.com/{to}?base_url={web.url}", **more}
