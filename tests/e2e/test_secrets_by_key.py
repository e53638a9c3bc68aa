"""`secrets.workiz[account_id]`: a key for each account, in the request and nowhere else."""

from __future__ import annotations

import json

from servers import Answer, HttpServer

from e2e.kit import Scene

KEYS = {"17": "key/of+seventeen", "b-2": "key-of-b-two"}
CONFIG = """
store: q.db
secrets: {{workiz: "${{file:workiz-keys.json}}"}}
processors:
  sync:
    http: {{url: "{url}/v1/{{{{ secrets.workiz[account_id] }}}}/job/{{{{ uuid }}}}"}}
    max_retries: 0
"""


def test_each_account_has_its_key_and_no_trace_of_it_remains(scene: Scene) -> None:
    with HttpServer() as server:
        server.answers(lambda request: Answer(status=400 if "u3" in request.path else 200, body=request.path.encode()))
        scene.cli.config(CONFIG.format(url=server.url))
        keys = scene.folder / "workiz-keys.json"
        keys.write_text(json.dumps(KEYS))
        keys.chmod(0o600)
        accounts = [(17, "u1"), ("17", "u2"), ("b-2", "u3")]
        orders = [{"uuid": uuid, "account_id": account} for account, uuid in accounts]
        refused = scene.cli.json(
            "enqueue", "orders", "-", "-p", "sync", code=2, stdin=json.dumps([*orders, {"uuid": "u4", "account_id": 5}])
        )
        assert "stdin:1 (record 4): needs the secret" in refused["error"]["details"][0]
        told = [json.dumps(refused)]
        told.append(scene.cli.ok("enqueue", "orders", "-", "-p", "sync", stdin=json.dumps(orders), timeout=60))
        done = scene.cli.run("run", "-vv")
        told += [done.stdout, done.stderr]
        for words in ("show latest --json", "results latest", "errors", "history latest", "logs 3", "show 3", "why 3"):
            told.append(scene.cli.run(*words.split()).stdout)
        paths = sorted(request.path for request in server.requests)
    quoted = "key%2Fof%2Bseventeen"
    assert paths == sorted([f"/v1/{quoted}/job/u1", f"/v1/{quoted}/job/u2", "/v1/key-of-b-two/job/u3"])
    lying = [path.read_bytes() for path in scene.folder.rglob("*") if path.is_file() and path != keys]
    lying += scene.stored().values()
    for key in (*KEYS.values(), quoted):
        assert not any(key in text for text in told)
        assert not any(key.encode() in data for data in lying)
