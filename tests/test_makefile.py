"""`make` and what it calls, as far as that is cheap: no virtual environment is made here."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def shell(*args: str, cwd: Path, path: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        args,
        cwd=cwd,
        env={"PATH": path or os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8"} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The repository's make files, and a PATH folder `bin` with just the tools that `setup` calls."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("sh", "cmp", "cp", "touch", "dirname", "basename", "mkdir"):
        found = shutil.which(name)
        assert found
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(found)
    return tmp_path


def setup(checkout: Path, extra: str = "demo", **env: str) -> subprocess.CompletedProcess[str]:
    return shell("tools/setup", extra, cwd=checkout, path=str(checkout / "bin"), **env)


OLD = "exit 1"  # what a Python below 3.11 answers to the question for its version
# A Python that is new enough and writes down what it is asked to do; `-m venv` makes one in .venv.
NEW = """
echo "$@" >> calls
case "$*" in
  "-m venv --clear .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "$0" .venv/bin/batchctl ;;
  --version) echo Python 3.12.0 ;;
esac"""


@needs_make
def test_plain_make_says_what_there_is() -> None:
    done = shell("make", cwd=ROOT)
    assert done.returncode == 0
    for target in ("demo", "test", "lint", "bench", "clean"):
        assert f"make {target} " in done.stdout


def test_no_python_that_is_new_enough(checkout: Path) -> None:
    program(checkout / "bin" / "python3", OLD)
    done = setup(checkout)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_named_python_that_will_not_do(checkout: Path) -> None:
    program(checkout / "bin" / "python3", NEW)
    old = program(checkout / "old", OLD)
    done = setup(checkout, PYTHON=str(old))
    assert done.returncode == 1
    assert f"PYTHON={old}: not a Python 3.11 or newer." in done.stderr
    assert not (checkout / ".venv").exists()


def test_venv_is_missing(checkout: Path) -> None:
    program(checkout / "bin" / "python3", 'case "$*" in *ensurepip*) exit 1 ;; esac')
    done = setup(checkout)
    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr


def test_a_shim_that_does_not_run_is_passed_over_and_a_second_run_installs_nothing(checkout: Path) -> None:
    program(checkout / "bin" / "python3.13", "exit 127")
    program(checkout / "bin" / "python3.12", NEW)
    done = setup(checkout)
    assert done.returncode == 0, done.stderr
    calls = (checkout / "calls").read_text(encoding="utf-8")
    assert "-m pip install" in calls
    assert ".[demo]" in calls
    assert setup(checkout).returncode == 0
    assert (checkout / "calls").read_text(encoding="utf-8") == calls


def test_other_dependencies_are_installed_again(checkout: Path) -> None:
    program(checkout / "bin" / "python3", NEW)
    assert setup(checkout, "dev").returncode == 0
    assert setup(checkout, "demo").returncode == 0  # dev holds demo
    assert (checkout / "calls").read_text(encoding="utf-8").count("-m pip install") == 1
    with (checkout / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert setup(checkout, "dev").returncode == 0
    assert (checkout / "calls").read_text(encoding="utf-8").count("-m pip install") == 2


def test_an_installation_that_failed_is_not_taken_for_done(checkout: Path) -> None:
    program(checkout / "bin" / "python3", NEW + '\ncase "$*" in *"pip install"*) exit 1 ;; esac')
    assert setup(checkout).returncode == 1
    assert "run the same command again" in setup(checkout).stderr
    assert not (checkout / ".venv" / ".installed-demo").exists()


@needs_make
def test_the_demo_may_not_hide_another_failure(checkout: Path) -> None:
    """`run` must end with 1, for some orders are wrong; anything else ends the demo with a fault."""
    shutil.copytree(ROOT / "examples", checkout / "examples", ignore=shutil.ignore_patterns("out", "__pycache__"))
    fake = checkout / "fake"
    for code, expected in ((0, 1), (1, 0), (3, 3), (5, 5)):
        program(fake / "batchctl", f'case "$1" in run) exit {code} ;; esac')
        path = f"{fake}:{os.environ['PATH']}"
        done = shell("examples/bulk-invoices/demo", cwd=checkout, path=path)
        assert done.returncode == expected, (code, done.stderr)
