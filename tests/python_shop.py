"""A module of handlers, good and bad, for tests of the `python` processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processor_kit import Work, bench

from batchctl.config.structs import ProcessorConfig, PythonSpec

MODULE = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
from batchctl import Permanent, Retry, Unavailable

def double(item, context):
    return {"twice": item["n"] * 2, "pid": os.getpid()}

def facts(item, context):
    return [item.number, item.key, item.payload, item.attempt, item.idempotency_key, item.organization, item.user,
            item.batch.id, item.batch.name, item.batch.total_items, context.idempotency_key, item.get("no", 5),
            "n" in item]

def where(item, context):
    return [os.getcwd(), os.environ.get("BATCHCTL_WORKER"), sys.path[0], os.getsid(0) == os.getpid()]

async def later(item, context):
    await asyncio.sleep(0.01)
    return id(asyncio.get_running_loop()) > 0

def values(item, context):
    return item["value"]

def strange(item, context):
    return {"set": {1, 2}, "nan": float("nan"), "surrogate": "\\udc80", "deep": None}[item["kind"]]

def raises(item, context):
    raise {"retry": Retry("busy", after="2m"), "plain retry": Retry(), "permanent": Permanent("no such order"),
           "down": Unavailable("ERP is closed", after=5), "value": ValueError("bad total"), "exit": SystemExit(3),
           "interrupt": KeyboardInterrupt()}[item["kind"]]

def prints(item, context):
    if item["n"] % 2:
        print("to stdout", item["n"])
        os.write(2, b"to fd 2\\n")
        subprocess.run(["echo", "from a child"])
        context.log("a line")

def reports(item, context):
    for percent in (10, 45.5):
        context.progress(percent)
    print("half way")
    Path(item["go"]).parent.joinpath("reported").touch()
    while not Path(item["go"]).exists():
        time.sleep(0.01)
    return context.artifact("made/x.pdf") == Path("made/x.pdf").absolute()

def dies(item, context):
    how = item.get("how")
    print("last words", flush=True)
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang up":
        os.closerange(3, 1000)
        time.sleep(987)
    if how == "segfault":
        import ctypes
        ctypes.string_at(0)
    return item["n"]

def hangs(item, context):
    if item.get("hang"):
        subprocess.Popen(["sleep", "987"])
        while True:
            pass
    return "done"

def waits(item, context):
    Path(f"running-{item.number}").touch()
    while not (item.get("polite") and context.cancelled) and not Path(f"go-{item.number}").exists():
        time.sleep(0.01)
    return "finished"

def reads(item, context):
    return item.file and [item.file.name, Path(item.file.path).read_text()]

def one_argument(item):
    pass

class Tools:
    @staticmethod
    def nested(item, context):
        return "nested"
"""


def python_work(folder: Path) -> Work:
    """Makes benches whose processor calls a function of MODULE."""
    (folder / "shop.py").write_text(MODULE)

    def make(function: str, *, module: str = "shop", timeout: float = 60.0, longest: int = 10**7, **kwargs: Any) -> Any:
        config = ProcessorConfig("p", "python", PythonSpec(module, function, longest), folder, timeout=timeout)
        return bench(config, folder, **kwargs)

    return make
