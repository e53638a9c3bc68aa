"""The documentation tells the truth: its links lead somewhere, its commands and options exist."""

from __future__ import annotations

import io
import re
import shlex
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from conftest import Cli

from batchctl.cli import run

ROOT = Path(__file__).parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *sorted(path for folder in ("docs", "examples", "systemd") for path in (ROOT / folder).rglob("*.md")),
]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def page_text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def outside_fences(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them."""
    titles = _HEADING.findall(outside_fences(page))
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(outside_fences(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


def command_lines(page: Path) -> list[str]:
    """What stands after a `$ ` in a console block, up to a comment; pipelines and `sudo`s are taken apart."""
    found = []
    for language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            found += [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return found


def batchctl_calls(line: str) -> list[list[str]]:
    """The arguments of each `batchctl` in a line of shell, without those after `--`."""
    words = shlex.split(line, comments=True)
    calls = []
    for start, word in enumerate(words):
        if Path(word).name == "batchctl" and not (start and words[start - 1] in ("install", "-u")):
            rest = words[start + 1 :]
            ends = [rest.index(stop) for stop in ("--", "|", "&&", ";", ">", "||") if stop in rest]
            calls.append(rest[: min(ends, default=len(rest))])
    return calls


@cache
def help_of(*command: str) -> str:
    """What `--help` says; '' where there is no such command. In this process: sixty starts would take a minute."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = run([*command, "--help"])
    out.seek(0)
    return out.read() if code == 0 else ""


GROUPS = {"enqueue", "config", "notify", "store"}
GLOBALS_WITH_VALUE = {"--config", "--store", "--org", "--user"}


def split(call: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The command's name, and every option of the call."""
    command: list[str] = []
    options = []
    words = iter(call)
    for word in words:
        if word.startswith("-") and word != "-":
            options.append(word.partition("=")[0])
            if not command and word in GLOBALS_WITH_VALUE:
                next(words, None)
        elif not command or (len(command) == 1 and command[0] in GROUPS):
            command.append(word)
    return tuple(command), options


def wrong_with(call: list[str]) -> list[str]:
    command, options = split(call)
    text = help_of(*command)
    if not text:
        return [f"no such command: {' '.join(command)}"]
    known = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))
    unknown = [option for option in options if option not in known and not re.fullmatch(r"-\w\d+", option)]
    return [f"{' '.join(command)} has no {option}" for option in unknown]


WITH_COMMANDS = [page for page in PAGES if any(batchctl_calls(line) for line in command_lines(page))]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands_and_options_exist(page: Path) -> None:
    wrong = [
        f"{line}: {problem}"
        for line in command_lines(page)
        for call in batchctl_calls(line)
        for problem in wrong_with(call)
    ]
    assert not wrong


def test_the_reader_of_commands_notices_what_is_not_there() -> None:
    (call,) = batchctl_calls("sudo -u x batchctl --config a.yaml list --nonsense 3 -- --unseen  # --neither")
    assert wrong_with(call) == ["list has no --nonsense"]
    assert wrong_with(["levitate"]) == ["no such command: levitate"]
    assert len(WITH_COMMANDS) > 3


def test_the_crontab_line_is_one_that_runs() -> None:
    lines = (ROOT / "crontab.example").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("*")]
    (call,) = batchctl_calls(line)
    assert wrong_with(call) == []


def test_the_unit_starts_a_command_that_exists() -> None:
    unit = (ROOT / "systemd" / "batchctl-worker.service").read_text(encoding="utf-8")
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    (call,) = batchctl_calls(line.removeprefix("ExecStart="))
    assert wrong_with(call) == []


def test_the_questions_to_the_store_can_be_asked(cli: Cli) -> None:
    cli.ok("--store", "queue.db", "enqueue", "orders", "--id", "ORD-10023", "--run", "--", "true")
    blocks = [text for language, text in _FENCE.findall(page_text("docs/store.md")) if language == "sql"]
    assert len(blocks) == 3
    with closing(sqlite3.connect(f"file:{cli.folder}/queue.db?mode=ro", uri=True)) as store:
        failed, by_processor, story = [store.execute(text).fetchall() for text in blocks]
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert failed == []
    assert [(processor, tries) for processor, tries, _ in by_processor] == [("inline:true", 1)]
    assert [row[3] for row in story] == ["completed"]
    first_column = re.findall(r"^\| (`[^|]+) \|", page_text("docs/store.md"), re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", " ".join(first_column)))
    assert tables - {"sqlite_sequence", "sqlite_stat1"} == told


def test_exit_codes_are_told_alike_everywhere() -> None:
    tables = [
        dict(re.findall(r"^\| ([\d, ]+) \| ([^|]+?) \|", page_text(page), re.MULTILINE))
        for page in ("README.md", "docs/exit-codes.md")
    ]
    for code in ("0", "1", "2", "3", "4", "5"):
        assert tables[0][code] == tables[1][code]
