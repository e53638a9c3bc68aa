"""POSTs of 200 bytes to a local server that answers after 20 ms, 64 at a time, beside `curl -Z`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.harness import Contender, Goal, Sample, Versus
from bench.program import Program, beside

COUNT = 5_000
AT_ONCE = 64
PAUSE_MS = 20
BYTES = 200
NOTE = "x" * (BYTES - len('{"note":""}'))


def benchmark(count: int) -> Versus:
    return Versus(
        name="http",
        title=f"Drain {count:,} POSTs of {BYTES} bytes, answers after {PAUSE_MS} ms, {AT_ONCE} at a time",
        count=count,
        unit="requests",
        contenders=[
            Contender("curl -Z", partial(curl, count=count), missing=None if shutil.which("curl") else "not installed"),
            Contender("batchctl", partial(batchctl, count=count)),
        ],
        goals=[Goal("batchctl", ("curl -Z",), 1.0), Goal("batchctl", ("curl -Z",), None, whole=True)],
    )


def batchctl(folder: Path, count: int) -> Sample:
    """`seconds` is the command's own `duration_ms`."""
    with serving() as port:
        program = Program(folder)
        url = f"http://127.0.0.1:{port}/invoices"
        program.configure(f'  send: {{http: {{method: POST, url: "{url}", json: {{note: "{{{{ note }}}}"}}}}}}\n')
        lines = [json.dumps({"id": n, "note": NOTE}) for n in range(1, count + 1)]
        (folder / "orders.jsonl").write_text("\n".join(lines), encoding="utf-8")
        program.run("enqueue", "orders", "orders.jsonl", "-p", "send")
        done = program.run("run", "-j", str(AT_ONCE))
        assert done.answer["completed"] == count
        return Sample(done.answer["duration_ms"] / 1000, done.seconds)


def curl(folder: Path, count: int) -> Sample:
    with serving() as port:
        requests = [_request(port, n) for n in range(1, count + 1)]
        (folder / "requests").write_text("next\n".join(requests), encoding="utf-8")
        command = ["curl", "-sS", "-Z", "--no-progress-meter", "--parallel-max", str(AT_ONCE), "-K", "requests"]
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, stderr=subprocess.DEVNULL, check=True)  # noqa: S603 - fixed words
        return Sample(time.perf_counter() - began)


def _request(port: int, number: int) -> str:
    """The same request as batchctl's, in curl's config format."""
    body = json.dumps(json.dumps({"note": NOTE}, separators=(",", ":")))
    return (
        f'url = "http://127.0.0.1:{port}/invoices"\n'
        f"data = {body}\n"
        'header = "Content-Type: application/json"\n'
        f'header = "Idempotency-Key: {number:032x}"\n'
        "output = /dev/null\n"
    )


@contextmanager
def serving() -> Iterator[int]:
    """A server of its own for each run; its port."""
    with beside("bench.http_server", str(PAUSE_MS)) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()
