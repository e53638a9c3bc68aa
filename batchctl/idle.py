"""Nothing due, told at once: a plain `check` that need not load the program.

A full check that leaves nothing behind notes beside the store which config led to it and what it need not look at
again. The next one compares, asks the store a few questions, and is done. Whatever is not known for sure, is the full
check's business. Imports as little as it can.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchctl import __version__, locate
from batchctl.engines import presence

NOTE = "check.json"
NOTHING = "Nothing was due"
_WITH_VALUE = {"--config": "config", "--store": "store"}
_PLAIN = {"-q", "--quiet", "--no-color"}
_HARMLESS = {"BATCHCTL_CONFIG", "BATCHCTL_STORE", "BATCHCTL_HOST_ID", "BATCHCTL_ORG", "BATCHCTL_USER"}
_OWN_LOCKS = {"ticket", "write"}
_MINUTE = 60_000


def answer(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Answer `check` where nothing is due; False where the full check has to. Raises nothing."""
    options = _options(argv)
    if options is None or not all(_harmless(name, value) for name, value in environ.items()):
        return False
    try:
        begun = time.monotonic()
        note = _note(options, environ)
        if note is None or not _nothing_due(note, exact="json" in options):
            return False
        os.utime(_run_folder(note["store"]) / NOTE)
        if options.get("json"):
            sys.stdout.write(json.dumps(document(round((time.monotonic() - begun) * 1000))) + "\n")
            sys.stdout.flush()
    except Exception:  # noqa: BLE001 - the full check says what is wrong
        return False
    return True


def _harmless(name: str, value: str) -> bool:
    """A variable of ours that says nothing else to the full check, and that it would not refuse."""
    if name == "BATCHCTL_LOG_FORMAT":
        return value in ("", "logfmt", "json")
    return not name.startswith("BATCHCTL_") or (name in _HARMLESS and value.isprintable())


def document(duration_ms: int) -> dict[str, Any]:
    """The contract's JSON of a check that had nothing to do."""
    return {
        "success": True,
        "processed_batches": 0,
        "completed_batches": 0,
        "message": NOTHING,
        "recovered_items": 0,
        "drained": {"completed": 0, "failed": 0, "retried": 0},
        "remote": {"submitted_batches": 0, "polled_batches": 0, "ingested_items": 0},
        "notifications": {"sent": 0, "failed": 0},
        "deleted_batches": 0,
        "alerts": [],
        "skipped": None,
        "errors": [],
        "duration_ms": duration_ms,
    }


def _options(argv: Sequence[str]) -> dict[str, str] | None:
    """The options of a plain `check`; None where anything else stands there."""
    found: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE:
            found[_WITH_VALUE[name]] = value if equals else next(words, "")
        elif word in ("check", "--json"):
            found[word.lstrip("-")] = word
        elif word not in _PLAIN:
            return None
    return found if "check" in found and all(found.values()) else None


# -- which config leads to which store


def identity(path: Path | None) -> list[Any] | None:
    """What tells a file from the same file changed."""
    if path is None:
        return None
    facts = path.stat()
    return [str(path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _note(options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """What the last full check noted, if it still holds for this call."""
    given = options.get("store") or environ.get("BATCHCTL_STORE")
    named = options.get("config") or environ.get("BATCHCTL_CONFIG")
    config = locate.find(Path(named) if named else None, environ, Path.cwd())
    store, named_by = (given, "given") if given else _guess(config, environ)
    if not store or "://" in store:
        return None
    path = Path(store).expanduser().absolute()
    try:
        note = json.loads((_run_folder(str(path)) / NOTE).read_bytes())["idle"]
    except (OSError, ValueError, KeyError):
        return None
    now = time.time_ns() // 1_000_000
    holds = (
        note is not None
        and note["store"] == str(path)
        and note["named_by"] == named_by
        and note["version"] == __version__
        and note["user"] == os.geteuid()
        and note["config"] == identity(config)
        and note["at"] <= now < note["until"]
    )
    return note if holds else None


def _guess(config: Path | None, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Where the store may be by a line of the config. It need not be right: the note beside it says for which config
    it holds."""
    if config is not None:
        for line in config.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("store:"):
                value = line[6:].split(" #")[0].strip().strip("\"'")
                return (str(config.parent / Path(value).expanduser()) if value else None), "config"
    return str(locate.default_store(environ)), "default"


def _run_folder(store: str) -> Path:
    return Path(f"{store}.run")


# -- whether anything is due


def _nothing_due(note: Mapping[str, Any], *, exact: bool) -> bool:
    """`exact`: the answer tells how many unfinished batches there are."""
    from batchctl.engines.glance import Glance

    store = note["store"]
    folder = _run_folder(store)
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < note["min_free"]:
        return False
    now = time.time_ns() // 1_000_000
    with Glance(store, "due") as look:
        if look.version() != note["schema"]:
            return False
        if look.true("due_work", now=now) or look.true("due_repair") or look.true("due_alert"):
            return False
        if look.true("due_notice", now=now) or look.true("due_file_act", now=now):
            return False
        if (exact or note["queue_rules"]) and look.true("any_unfinished"):
            return False
        if note["failure_rules"] and look.true("ended_since", minute=note["at"] // _MINUTE * _MINUTE):
            return False
        workers = look.all("worker_signs")
    return _all_well(folder, workers)


def _all_well(folder: Path, workers: Sequence[tuple[Any, ...]]) -> bool:
    """Every worker lives on this running system, and nobody else has left or holds a lock."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() if workers else ""
    awake = time.monotonic_ns() // 1_000_000
    for worker_id, boot_id, seen, lease in workers:
        if boot_id != boot or awake - seen > lease or not presence.alive(folder, worker_id):
            return False
    known = _OWN_LOCKS | {row[0] for row in workers}
    return all(path.suffix != ".lock" or path.stem in known for path in folder.iterdir())
