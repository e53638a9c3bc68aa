"""Promise 8: no secret of the config reaches the store, a log, an answer, an error or the process list."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from e2e.conftest import CONFIG
from e2e.kit import Scene, finish

SECRET = "s3cr3t/k+y=with spaces&more"  # noqa: S105 - made up
TELLS = """
import json, os, sys, time
order = json.load(sys.stdin)
open("held", "a").write("x\\n")
while not os.path.exists("go"): time.sleep(0.01)
token = os.environ["TOKEN"]
print(json.dumps({"token": token, "list": ["is " + token]}))
sys.stderr.write("the token is " + token + "\\n" + "::progress 50\\n")
sys.exit(order.get("exit", 0))
"""
CALLS = """
import os
def call(item, context):
    token = open("secret.txt").read()
    print("printed", token)
    context.log("logged " + token)
    if item["id"] == "bad":
        raise ValueError("refused " + token)
    return {"token": token, token: 1}
"""


def _config(scene: Scene) -> None:
    tool = f'{{command: ["{sys.executable}", -I, -S, tells.py], env: {{TOKEN: "${{TOKEN}}"}}}}'
    http = '{http: {url: "http://127.0.0.1:9/", headers: {Authorization: "Bearer ${TOKEN}"}, json: {a: 1}}}'
    secrets = 'secrets: {key: "${file:secret.txt}"}\n'
    scene.cli.config(secrets + CONFIG + f"  tell: {tool}\n  post: {http}\n")
    (scene.folder / "secret.txt").write_text(SECRET)
    (scene.folder / "secret.txt").chmod(0o600)
    (scene.folder / "tells.py").write_text(TELLS)
    (scene.folder / "work.py").write_text(CALLS)
    scene.cli.env["TOKEN"] = SECRET


def _told_to_all() -> str:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(lines)


def _variants() -> list[bytes]:
    from urllib.parse import quote

    return [text.encode() for text in (SECRET, json.dumps(SECRET)[1:-1], quote(SECRET), quote(SECRET, safe=""))]


@pytest.mark.parametrize("processor", ["tell", "call", "post"])
def test_a_secret_stays_where_it_is(scene: Scene, processor: str) -> None:
    _config(scene)
    batch = scene.enqueue([{"id": "good"}, {"id": "bad", "exit": 1}], processor=processor)
    worker = scene.worker("-j", "2", "-vv")
    if processor == "tell":
        scene.holds(2)
        assert SECRET not in _told_to_all()
        seen = scene.stored()
        scene.touch("go")
    else:
        seen = {}
    out, err = finish(worker)
    assert worker.returncode == 1
    texts = {"run": out + err}
    for args in (["show", batch], ["show", f"{batch}/good"], ["show", f"{batch}/bad"], ["logs", f"{batch}/bad"]):
        for more in ([], ["--json"]):
            texts[" ".join(args + more)] = (done := scene.cli.run(*args, *more, "-vv")).stdout + done.stderr
    for args in (["errors"], ["results", batch], ["history", batch], ["config", "show"], ["why", f"{batch}/bad"]):
        texts[" ".join(args)] = (done := scene.cli.run(*args)).stdout + done.stderr
    everything = seen | {f"{name} after": content for name, content in scene.stored().items()}
    everything |= {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}
    found = [(name, form) for name, content in everything.items() for form in _variants() if form in content]
    assert found == []
    if processor != "post":
        assert "***" in texts[f"show {batch}/good --json"]


def test_the_store_and_what_lies_beside_it_are_for_their_owner(scene: Scene) -> None:
    scene.enqueue([{"id": 1, "hold": "go"}])
    worker = scene.worker()
    scene.holds(1)
    paths = [*scene.folder.glob("q.db*"), scene.private, *scene.private.rglob("*")]
    assert len(paths) >= 3
    assert [str(path) for path in paths if path.stat().st_mode & 0o077] == []
    scene.touch("go")
    finish(worker, 0)
