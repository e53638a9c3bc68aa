"""batchctl as its users run it: the real program in a process of its own, in a folder with a config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANDLERS = """\
def handle(item, context):
    return {"n": item.payload["n"]}
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """One command: its JSON answer, how long the whole process took in seconds, and its peak memory in MB."""

    answer: Any
    seconds: float
    peak_mb: float


NOOP = '  noop: {python: "handlers:handle"}\n'


class BatchctlFailed(Exception):
    """The program did not do the work: there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Program:
    """A folder with `batchctl.yaml` and a store. `environment` is bare, as cron's would be."""

    folder: Path

    def configure(self, processors: str, *, store: str = "queue.db") -> None:
        """Write the config; `processors` is the YAML below `processors:`, indented by two."""
        path = self.folder / "batchctl.yaml"
        path.write_text(f'store: "{store}"\nprocessors:\n{processors}', encoding="utf-8")
        path.chmod(0o600)
        (self.folder / "handlers.py").write_text(HANDLERS, encoding="utf-8")

    def start(self, *args: str) -> subprocess.Popen[str]:
        """A command in the background that answers in JSON."""
        return self._start(*args, "--json")

    def _start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "batchctl", *args],
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **_source()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *args: str, watch_memory: bool = False) -> Finished:
        """Run a command to its end. Raises BatchctlFailed where it does not exit with 0."""
        began = time.perf_counter()
        process = self.start(*args)
        watcher = PeakMemory(process.pid) if watch_memory else None
        out, err = process.communicate()
        seconds = time.perf_counter() - began
        if process.returncode:
            raise BatchctlFailed(f"batchctl {' '.join(args)}: exit {process.returncode}\n{out}\n{err}")
        return Finished(json.loads(out), seconds, watcher.stop() if watcher else 0.0)

    def ask(self, *args: str) -> float:
        """Run a command as a person would, into a pipe; how long it took in seconds. Raises BatchctlFailed."""
        began = time.perf_counter()
        process = self._start(*args)
        out, err = process.communicate()
        if process.returncode:
            raise BatchctlFailed(f"batchctl {' '.join(args)}: exit {process.returncode}\n{out}\n{err}")
        return time.perf_counter() - began


def beside(module: str, *args: str) -> subprocess.Popen[str]:
    """A module of ours in a process of its own; it ends when its standard input does."""
    return subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-m", module, *args],
        cwd=Path(__file__).parent.parent,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def _source() -> dict[str, str]:
    """The checkout that the benchmark belongs to, whatever is installed."""
    return {"PYTHONPATH": str(Path(__file__).parent.parent)}


class PeakMemory:
    """Follows the peak resident memory of a process, from the kernel's own high-water mark."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The peak in MB."""
        self._over.set()
        self._thread.join()
        return self._peak

    def _follow(self) -> None:
        while not self._over.wait(0.02):
            try:
                text = self._status.read_text(encoding="utf-8")
            except OSError:
                return
            found = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:")]
            self._peak = max([self._peak, *(int(kilobytes) / 1000 for kilobytes in found)])
