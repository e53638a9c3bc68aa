"""try: one item now, with everything shown and nothing stored."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli

SECRET = "very-secret-token"  # noqa: S105 - stands for one
HANDLER = """
from batchctl import Permanent

def greet(item, context):
    context.log("greeting " + item["name"])
    if item["name"] == "Alan":
        raise Permanent("nobody greets Alan")
    return {"text": "Hello " + item["name"]}
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"path": self.path, "sent": sent}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def echo() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def work(cli: Cli) -> Cli:
    cli.config(
        """
        processors:
          greet: {python: "handlers:greet"}
          count: {command: [wc, -c, "{{ path }}"]}
          say: {command: [sh, -c, 'echo "$1" >&2; exit 3', "-", "{{ name }}"]}
        """
    )
    (cli.folder / "handlers.py").write_text(HANDLER)
    (cli.folder / "o.csv").write_text("id,name\n1,Ada\n2,Alan\n")
    return cli


def stored(cli: Cli) -> list[Path]:
    return [path for path in cli.folder.rglob("*") if "queue" in path.name]


def test_a_python_function(work: Cli) -> None:
    answer = work.json("try", "greet", "o.csv")
    assert answer["preview"] == {"key": "1", "call": "handlers:greet", "payload": {"id": "1", "name": "Ada"}}
    assert (answer["state"], answer["result"], answer["error"]) == ("completed", {"text": "Hello Ada"}, None)
    assert "greeting Ada" in answer["log"]
    assert not stored(work)


def test_another_row_that_fails(work: Cli) -> None:
    done = work.run("try", "greet", "o.csv", "--row", "2")
    assert done.returncode == 1
    assert "greeting Alan" in done.stdout
    assert "Permanent: nobody greets Alan" in done.stdout
    assert "failed for good" in done.stderr


def test_a_command_on_a_file(work: Cli) -> None:
    (work.folder / "a b.txt").write_text("12345")
    done = work.run("try", "count", "a b.txt")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"$ wc -c '{work.folder}/a b.txt'"
    assert "5 " in done.stdout
    assert not stored(work)


def test_a_list_is_a_file_for_a_processor_of_files(work: Cli) -> None:
    assert work.json("try", "count", "o.csv")["result"]["stdout"].startswith("21 ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_too(cli: Cli, number: signal.Signals, code: int) -> None:
    cli.config("processors: {nap: {command: [sh, -c, 'echo $$ > pid.new && mv pid.new pid && exec sleep 600']}}")
    (cli.folder / "o.csv").write_text("id\n1\n")
    running = cli.start("try", "nap", "o.csv")
    pid = cli.folder / "pid"
    deadline = time.monotonic() + 30
    while not pid.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(number)
    running.communicate(timeout=30)
    assert running.returncode == code
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_what_is_never_tried_again_is_not_announced_so(cli: Cli) -> None:
    cli.config("processors: {once: {command: ['false'], max_retries: 0}, twice: {command: ['false'], max_retries: 1}}")
    (cli.folder / "o.csv").write_text("id\n1\n")
    assert "tried again" not in cli.run("try", "once", "o.csv").stderr
    assert "tried again" in cli.run("try", "twice", "o.csv").stderr


def test_a_failing_command_shows_what_it_wrote(work: Cli) -> None:
    answer = work.json("try", "say", "o.csv", code=1)
    assert answer["preview"]["command"] == ["sh", "-c", 'echo "$1" >&2; exit 3', "-", "Ada"]
    assert answer["state"] == "failed"
    assert "Ada" in answer["error"]["message"]


def test_a_request_and_its_answer(cli: Cli, echo: str) -> None:
    cli.config(
        f"processors: {{erp: {{http: {{method: POST, url: '{echo}/{{{{ id }}}}', json: {{n: '{{{{ name }}}}'}},"
        " headers: {Authorization: 'Bearer ${TOKEN}'}, success: 'status == 201', result: '{{ body }}'}}}"
    )
    done = cli.run("try", "erp", "-", stdin='{"id": "a b", "name": "Ada"}', TOKEN=SECRET)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"POST {echo}/a%20b\n")
    assert "Authorization: Bearer ***" in done.stdout
    result = json.loads(done.stdout.partition("Result\n")[2])
    assert result == {"path": "/a%20b", "sent": {"n": "Ada"}}
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("gret", "o.csv"), "there is no processor 'gret'"),
        (("greet", "gone.csv"), "gone.csv: item 1 cannot be taken"),
        (("greet", "o.csv", "--row", "3"), "o.csv: there is no item 3"),
        (("say", "bad.csv"), "bad.csv: item 1 cannot be taken"),
    ],
)
def test_what_is_refused(work: Cli, args: tuple[str, ...], message: str) -> None:
    (work.folder / "bad.csv").write_text("id,title\n1,x\n")
    done = work.run("try", *args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
