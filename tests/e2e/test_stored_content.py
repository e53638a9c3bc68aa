"""`enqueue files --store-content`: the work needs no file any more, on any host."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

from e2e.kit import Scene, audit, eventually, finish, kill9

# What a processor sees of its file: path, mode, content; then the folder's mode.
LOOK = """
import json, os, sys
path = sys.argv[1]
mode = lambda what: oct(os.stat(what).st_mode & 0o777)
print(json.dumps({"path": path, "mode": mode(path), "folder": mode(os.path.dirname(path)), "text": open(path).read()}))
while os.path.exists("hold"):
    pass
if os.path.exists("fail"):
    sys.exit(75)
"""


def prepare(scene: Scene) -> None:
    (scene.folder / "look.py").write_text(LOOK)
    (scene.folder / "work.py").write_text("def call(item, context):\n    return open(item.file.path).read()\n")
    scene.cli.config(f"""
store: q.db
worker: {{concurrency: 2, lease: 60s, min_free: 0}}
defaults: {{max_retries: 1, backoff: {{base: 50ms, factor: 1, max: 1s, jitter: 0}}}}
processors:
  look: {{command: ["{sys.executable}", -I, -S, look.py, "{{{{ path }}}}"]}}
  call: {{python: "work:call"}}
  moves: {{command: ["true"], after: {{completed: delete}}}}
""")


def files(scene: Scene, *texts: str) -> list[str]:
    (scene.folder / "in").mkdir(exist_ok=True)
    names = [f"in/{n}.txt" for n in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (scene.folder / name).write_text(text)
    return names


def put(scene: Scene, *args: str, processor: str = "look") -> str:
    return scene.cli.ok("enqueue", "files", *args, "-p", processor, "--store-content", "--print-id").strip()


def spooled(scene: Scene) -> list[Path]:
    return [path for path in scene.private.rglob("*.txt") if path.is_file()]


def test_the_files_may_be_gone(scene: Scene) -> None:
    prepare(scene)
    names = files(scene, "one", "two", "")
    batch = put(scene, *names)
    for name in names:
        (scene.folder / name).unlink()
    assert scene.drain()["completed"] == 3
    items = scene.cli.json("show", batch)["items"]
    assert [item["key"] for item in items] == names
    assert [item["result"]["text"] for item in items] == ["one", "two", ""]
    assert {(item["result"]["mode"], item["result"]["folder"]) for item in items} == {("0o600", "0o700")}
    assert [Path(item["result"]["path"]).name for item in items] == ["0.txt", "1.txt", "2.txt"]
    assert items[0]["file"]["path"] == str(scene.folder / "in/0.txt")
    assert items[0]["file"]["stored"] is True
    assert "content in the store" in scene.cli.ok("show", str(items[0]["id"]))
    assert spooled(scene) == []
    audit(scene)


def test_functions_and_retries_too(scene: Scene) -> None:
    prepare(scene)
    names = files(scene, "one")
    put(scene, *names, processor="call")
    batch = put(scene, *names)
    (scene.folder / "in/0.txt").write_text("changed since")
    (scene.folder / "fail").touch()
    assert scene.drain(code=1)["retried"] == 1
    (scene.folder / "fail").unlink()
    scene.cli.ok("retry", batch, "--reread")
    assert scene.drain()["completed"] == 1
    by_function = """SELECT r.result FROM item_results r JOIN items i ON i.id = r.item_id
                     JOIN batches b ON b.no = i.batch_no WHERE b.processor = 'call'"""
    assert scene.rows(by_function) == [('"one"',)]
    assert scene.item(f"{batch}/in/0.txt")["result"]["text"] == "one"
    assert spooled(scene) == []


def test_too_large_a_file_is_refused_by_name(scene: Scene) -> None:
    prepare(scene)
    names = files(scene, "a", "123456")
    refused = scene.cli.json(
        "enqueue", "files", *names, "-p", "look", "--store-content", "--content-limit", "5", code=2
    )
    assert refused["error"]["details"] == [
        "in/1.txt: has 6 bytes, but --store-content takes at most 5 (--content-limit)"
    ]
    scene.cli.json("enqueue", "files", *names, "-p", "look", "--content-limit", "5", code=2)
    scene.cli.json("enqueue", "files", *names, "-p", "look", "--store-content", "--content-limit", "9GB", code=2)
    refused = scene.cli.json("enqueue", "files", *names, "-p", "moves", "--store-content", code=2)
    assert "after" in refused["error"]["message"]


def test_names_that_are_no_text(scene: Scene) -> None:
    prepare(scene)
    name = b"in/caf\xe9 {x}.txt"
    (scene.folder / "in").mkdir()
    path = os.fsencode(scene.folder) + b"/" + name
    Path(os.fsdecode(path)).write_text("odd")
    scene.cli.ok("enqueue", "files", name, "-p", "call", "--store-content")
    Path(os.fsdecode(path)).unlink()
    assert scene.drain()["completed"] == 1
    assert scene.value("SELECT result FROM item_results") == '"odd"'


def test_content_is_what_was_enqueued_or_fails(scene: Scene) -> None:
    """A bit that flipped in the store reaches no processor."""
    prepare(scene)
    put(scene, *files(scene, "one"))
    scene.change("UPDATE item_files SET content = ?", b"onE")
    assert scene.drain(code=1)["failed"] == 1
    assert scene.item(1)["error"]["type"] == "FileChanged"


def test_a_worker_that_was_killed_leaves_no_copy(scene: Scene) -> None:
    prepare(scene)
    put(scene, *files(scene, "secret"))
    (scene.folder / "hold").touch()
    worker = scene.worker()
    eventually(lambda: [copy.read_text() for copy in spooled(scene)] == ["secret"], "it is at work")
    kill9(worker)
    (scene.folder / "hold").unlink()
    assert scene.drain()["completed"] == 1
    assert spooled(scene) == []
    audit(scene)


def test_cleanup_takes_it_away(scene: Scene) -> None:
    prepare(scene)
    first = put(scene, *files(scene, *(str(n) * 10 for n in range(30))))
    put(scene, *files(scene, "stays"))
    finish(scene.worker(first), 0)
    assert scene.value("SELECT count(*) FROM item_files") == 31
    scene.cli.ok("cleanup", "--older-than", "0s", "-y")
    assert scene.rows("SELECT content FROM item_files") == [(b"stays",)]
    assert scene.drain()["completed"] == 1


def test_large_contents_of_many_files(scene: Scene) -> None:
    """More than goes into one commit."""
    prepare(scene)
    (scene.folder / "in").mkdir()
    sums = {}
    for n in range(3):
        content = os.urandom(5_000_000)
        (scene.folder / f"in/{n}.bin").write_bytes(content)
        sums[f"in/{n}.bin"] = hashlib.sha256(content).hexdigest()
    (scene.folder / "work.py").write_text(
        "import hashlib\ndef call(item, context):\n"
        "    return hashlib.sha256(open(item.file.path, 'rb').read()).hexdigest()\n"
    )
    put(scene, *sums, processor="call")
    for name in sums:
        (scene.folder / name).unlink()
    assert scene.drain()["completed"] == 3
    found = scene.rows("SELECT i.key, r.result FROM items i JOIN item_results r ON r.item_id = i.id")
    assert {key: json.loads(result) for key, result in found} == sums


def test_the_same_again_stores_nothing(scene: Scene) -> None:
    prepare(scene)
    names = files(scene, "one")
    first = scene.cli.json("enqueue", "files", *names, "-p", "look", "--store-content", "--idempotency-key", "k")
    again = scene.cli.json("enqueue", "files", *names, "-p", "look", "--store-content", "--idempotency-key", "k")
    assert (first["existing"], again["existing"]) == (False, True)
    scene.cli.json("enqueue", "files", *names, "-p", "look", "--store-content", code=2)
    assert scene.value("SELECT count(*) FROM item_files") == 1
