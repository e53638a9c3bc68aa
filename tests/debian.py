"""Programs of Debian packages that some tests need: installed where that is allowed, else those tests skip."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_SBIN = "/usr/sbin:/sbin"


def program(name: str, package: str) -> str:
    """The path of a program. As root, on Debian and its like, the package is installed where it is missing."""
    path = f"{os.environ['PATH']}:{_SBIN}"
    if (found := shutil.which(name, path=path)) is None:
        if os.geteuid() or shutil.which("apt-get") is None:
            pytest.skip(f"{name} is not installed, and only root may install it: apt install {package}")
        _install(package)
        if (found := shutil.which(name, path=path)) is None:
            pytest.skip(f"{name} is not installed, and `apt-get install {package}` did not bring it")
    return found


def _install(package: str) -> None:
    """One at a time; the list of packages is fetched where it is missing."""
    with (Path(tempfile.gettempdir()) / "batchctl-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=60", "--no-install-recommends"]
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in ([*apt, "install", "-y", package], [*apt, "update"], [*apt, "install", "-y", package]):
            done = subprocess.run(command, env=env, capture_output=True, timeout=180, check=False)
            if done.returncode == 0 and "install" in command:
                return
