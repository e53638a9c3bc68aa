"""The program that is killed at a point of its own: `dies.py MODULE:NAME:(before|after):COUNT ARGUMENTS…`.

Before or after the COUNTth call of that function the process kills itself as `kill -9` does.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from functools import reduce
from itertools import count
from typing import Any


def arm(module: str, name: str, moment: str, number: int) -> None:
    holder: Any = importlib.import_module(module)
    *way, last = name.split(".")
    holder = reduce(getattr, way, holder)
    real, calls = getattr(holder, last), count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        due = next(calls) == number
        if due and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*args, **kwargs)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(holder, last, deadly)


if __name__ == "__main__":
    where, *arguments = sys.argv[1:]
    module, name, moment, number = where.split(":")
    arm(module, name, moment, int(number))
    from batchctl.cli import run

    sys.exit(run(arguments))
