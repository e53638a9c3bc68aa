"""`check` in the background, its config, and its locks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from servers import HttpServer

from e2e.conftest import CONFIG
from e2e.kit import Scene, eventually

ZERO = {"completed": 0, "failed": 0, "retried": 0}


def check(scene: Scene, *args: str, **env: str) -> subprocess.Popen[str]:
    process = scene.cli.start("check", *args, **env)
    scene.started.append(process)
    return process


def configure(scene: Scene, **keys: object) -> None:
    """The scene's config with `check:`."""
    scene.cli.config(f"{CONFIG}check: {json.dumps(keys)}\n")


def notify(scene: Scene, server: HttpServer, **keys: object) -> None:
    """A target that wants every end and every alert; `check:` with an alert, and with these keys."""
    place = server.url.removeprefix("http://")
    targets = [{"to": f"json://{place}/hook", "events": ["completed", "failed", "alert"]}]
    checks = {"alerts": {"queue_depth": 2}} | keys
    scene.cli.config(f"{CONFIG}notifications: {json.dumps(targets)}\ncheck: {json.dumps(checks)}\n")


def locked(scene: Scene, name: str) -> Path:
    """The file of that lock, once somebody has it."""
    path = scene.private / f"{name}.lock"
    eventually(lambda: path.exists() and path.stat().st_size, f"somebody has the lock {name}")
    return path


def older(path: Path, seconds: float) -> None:
    """Make the check that has this lock older."""
    facts = json.loads(path.read_text())
    facts["began"] -= round(seconds * 1000)
    path.write_text(json.dumps(facts))
