"""Chains of commands for the tests of the `steps` processor, and what these wrote down."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from processor_kit import Bench, Line, item

from batchctl.config import build
from batchctl.model import Item

Step = dict[str, Any]

AUTHOR = """
import json, os, sys, pathlib, time
name, what, number = sys.argv[1:4]
with open("ran", "a") as ran:
    ran.write(json.dumps([name, int(number), os.environ["BATCHCTL_ITEM_IDEMPOTENCY_KEY"],
                          int(os.environ["BATCHCTL_ITEM_ATTEMPT"])]) + "\\n")
if what == "hold":
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
if what.startswith("exit"):
    print(f"{name} is not ready", file=sys.stderr)
    sys.exit(int(what[4:]))
print(json.dumps({"from": name, "with": sys.argv[4:]}))
"""


def with_author(folder: Path) -> Path:
    """The folder, with the program that a `command` runs."""
    (folder / "author.py").write_text(AUTHOR)
    return folder


def command(name: str, what: str = "do", *words: str, **more: Any) -> Step:
    argv = [sys.executable, "-I", "-S", "author.py", name, what, "{{ item.number }}", *words]
    return {"name": name, "command": argv, "max_retries": 0, **more}


def other(name: str, what: str = "do", **more: Any) -> Step:
    """What stands behind `fallback`."""
    return {key: value for key, value in command(name, what, **more).items() if key != "name"}


def chain(folder: Path, *steps: Step, **more: Any) -> Any:
    return build.processor("p", {"steps": list(steps), **more}, {}, folder)


def ran(folder: Path) -> list[list[Any]]:
    """[step, item, idempotency key, attempt] for each start of a command."""
    path = folder / "ran"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def names(folder: Path) -> list[str]:
    return [start[0] for start in ran(folder)]


def held(at: Bench, folder: Path) -> Line:
    """Item 1, whose step `a` has ended and which waits for that to be kept. The step is a `hold`."""
    line = at.start(item())
    with line.changed:
        line.go_on = None
    (folder / "go").touch()
    line.wait(lambda line: line.held is not None)
    return line


def again(one: Item, bench: Bench, **facts: Any) -> Item:
    """The item in its next claim, with what was kept in this one."""
    import msgspec

    kept = {found.step: found for found in (*one.kept, *bench.lines[one.number].kept)}
    return msgspec.structs.replace(one, kept=tuple(kept.values()), claim_no=one.claim_no + 1, **facts)
