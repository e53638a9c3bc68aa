"""Promise 11: what changed since it was enqueued is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, audit


def _make(folder: Path) -> None:
    folder.mkdir()
    for name in ("kept", "gone", "changed", "grown", "replaced"):
        (folder / f"{name}.txt").write_text(f"{name}\n")


def _change(folder: Path) -> None:
    before = (folder / "changed.txt").stat()
    (folder / "gone.txt").unlink()
    (folder / "changed.txt").write_text("CHANGED\n")  # as long as before, and as old
    os.utime(folder / "changed.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "grown.txt").write_text("grown, grown\n")
    (folder / "replaced.txt").unlink()
    (folder / "replaced.txt").mkdir()


@pytest.mark.parametrize("processor", ["look", "call"])
def test_files_that_are_gone_or_changed_fail_and_the_others_do_not(scene: Scene, processor: str) -> None:
    scene.cli.config(CONFIG + '  look: {command: [cat, "{{ path }}"], max_retries: 3}\n')
    (scene.folder / "work.py").write_text("def call(item, context): return open(item.file.path).read()\n")
    _make(scene.folder / "inbox")
    batch = scene.cli.ok("enqueue", "files", "-r", "inbox", "-p", processor, "--print-id").strip()
    _change(scene.folder / "inbox")
    scene.drain(code=1)
    items = {item["file"]["name"]: item for item in scene.show(batch)["items"]}
    errors = {name: item["error"] and item["error"]["type"] for name, item in items.items()}
    assert errors == {
        "kept.txt": None,
        "gone.txt": "FileMissing",
        "changed.txt": "FileChanged",
        "grown.txt": "FileChanged",
        "replaced.txt": "FileChanged",
    }
    assert {item["attempts"] for item in items.values()} == {1}
    assert {item["error"]["permanent"] for item in items.values() if item["error"]} == {True}
    audit(scene)


def test_reread_accepts_what_is_there_now(scene: Scene) -> None:
    scene.cli.config(CONFIG + '  look: {command: [cat, "{{ path }}"]}\n')
    (scene.folder / "a.txt").write_text("old")
    batch = scene.cli.ok("enqueue", "files", "a.txt", "-p", "look", "--print-id").strip()
    (scene.folder / "a.txt").write_text("new")
    scene.drain(code=1)
    scene.cli.ok("retry", batch, "--reread")
    scene.drain()
    assert scene.show(batch)["items"][0]["result"] == {"stdout": "new"}
