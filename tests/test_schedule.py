"""`schedule`: units and crontab lines that systemd and cron take, and what is in systemd/ and crontab.example."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import debian
import pytest
from conftest import Cli

from batchctl.config import Config
from batchctl.errors import UsageError
from batchctl.schedule import Job, Scope, crontab
from batchctl.schedule.job import INTERVALS, interval
from batchctl.schedule.place import ours
from batchctl.schedule.survey import survey
from batchctl.schedule.units import calendar, units

ROOT = Path(__file__).parent.parent
COMMAND = "store: state/queue.db\nprocessors:\n  print-page: {command: [true, '{{ path }}']}\n"


def example(scope: Scope = "system") -> Job:
    """The job of the files in the repository: a config in /etc, its store in /var/lib, the program in /opt."""
    folder = Path("/etc/batchctl")
    config = Config(folder, "/var/lib/batchctl/queue.db", path=folder / "config.yaml", store_from="config")
    needed = ("/etc/batchctl/config.yaml", "/opt/batchctl", "/var/lib/batchctl")
    job = survey(config, {"PATH": "/usr/bin"}, scope=scope)
    return replace(job, python="/opt/batchctl/bin/python", user="batchctl", needed=needed, offset=0)


def examples() -> dict[Path, str]:
    job = example()
    files = {ROOT / "systemd" / name: text for part in ("check", "worker") for name, text in units(job, part).items()}
    return files | {ROOT / "crontab.example": crontab.lines(example("user"))}


def test_the_files_in_the_repository_are_what_is_printed() -> None:
    for path, text in examples().items():
        assert path.read_text(encoding="utf-8") == text, f"write it anew: python {__file__}"
    assert {path.name for path in (ROOT / "systemd").iterdir()} == {path.name for path in examples()} - {
        "crontab.example"
    } | {"README.md"}


# -- systemd takes them


@pytest.fixture
def analyze() -> str:
    return debian.program("systemd-analyze", "systemd")


def asked(*words: str | Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"XDG_RUNTIME_DIR": tempfile.gettempdir()}  # for --user
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def printed(cli: Cli, *options: str) -> dict[str, str]:
    files = cli.json("schedule", "systemd", *options)["files"]
    return {Path(file["path"]).name: file["content"] for file in files}


def written(folder: Path, texts: dict[str, str]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


@pytest.mark.parametrize("scope", ["system", "user"])
def test_systemd_finds_no_fault(cli: Cli, analyze: str, scope: str) -> None:
    cli.config(COMMAND)
    options = ("--scope", scope, "--on-failure", "tell@%n.service")
    texts = printed(cli, *options) | printed(cli, *options, "--worker")
    assert len(texts) == 3
    tell = {"tell@.service": "[Service]\nExecStart=/bin/true\n"}
    paths = written(cli.folder / "units", texts | tell)
    manager = ["--user"] if scope == "user" else []
    done = asked(analyze, "verify", "--man=no", *manager, *paths)
    own = [line for line in done.stderr.splitlines() if "batchctl" in line]
    assert own == [], done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["batchctl-check.service", "batchctl-worker.service"])
def test_the_services_are_hardened(tmp_path: Path, analyze: str, name: str) -> None:
    texts = {path.name: text for path, text in examples().items()}
    paths = written(tmp_path / "units", {name: texts[name]})
    done = asked(analyze, "security", "--offline=yes", "--no-pager", "--threshold=30", *paths)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= 3.0
    assert done.returncode == 0


@pytest.mark.parametrize("every", INTERVALS)
def test_the_calendar_repeats_after_the_interval(analyze: str, every: int) -> None:
    done = asked(analyze, "calendar", "--iterations=3", "--base-time=2026-06-01 00:00:00 UTC", calendar(every))
    assert done.returncode == 0, done.stderr
    times = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", done.stdout, re.MULTILINE)
    zone = [] if times else re.findall(r"(?:Next elapse|Iter. #\d): \w+ (\S+ \S+)", done.stdout)
    moments = [datetime.fromisoformat(text).timestamp() for text in times or zone]
    assert len(moments) == 3
    assert {later - sooner for sooner, later in pairwise(moments)} == {every}


# -- what they say


def test_every_path_is_absolute_and_the_interpreter_this_one(cli: Cli) -> None:
    config = cli.config(COMMAND)
    service = printed(cli, "--scope", "system")["batchctl-check.service"]
    (line,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    words = shlex.split(line)
    assert Path(words[0]).is_absolute()
    assert Path(words[0]).samefile(sys.executable)
    assert words[1:] == ["-P", "-m", "batchctl", "--config", str(config), "check"]
    assert f"ReadWritePaths=-{cli.folder}\n" in service
    timer = printed(cli)["batchctl-check.timer"]
    assert "Persistent=true" in timer
    assert "Requires=" not in timer
    assert re.search(r"^RandomizedDelaySec=\d+s$", timer, re.MULTILINE)


def test_a_store_named_by_option_is_the_schedules_too(cli: Cli) -> None:
    cli.config("processors: {}\n")
    line = cli.ok("--store", "other.db", "schedule", "cron", "--scope", "user").splitlines()[2]
    assert f"--store {cli.folder}/other.db check" in line
    assert cli.ok("schedule", "cron", "--scope", "user", BATCHCTL_STORE="third.db").count(f"{cli.folder}/third.db") == 1


def test_what_is_limited_to_an_organization_is_so_under_the_schedule(cli: Cli) -> None:
    cli.config("processors: {}\n")
    assert "--org acme check\n" in cli.ok("--org", "acme", "schedule", "cron", "--scope", "user")
    assert "--org acme check\n" in cli.ok("schedule", "systemd", "--scope", "user", BATCHCTL_ORG="acme")
    assert "--org" not in cli.ok("schedule", "cron", "--scope", "user")


def test_a_password_in_the_stores_url_is_not_printed(cli: Cli) -> None:
    cli.config("processors: {}\n")
    done = cli.run("--store", "postgresql://me:open-sesame@db/queue", "schedule", "cron")
    assert done.returncode == 2
    assert "${NAME|url}" in done.stderr
    assert "open-sesame" not in done.stdout + done.stderr


def test_odd_names_pass_through_systemd_and_sh(tmp_path: Path, analyze: str) -> None:
    """Blanks, quotes, `$`, `%`, umlauts: the words come out as they went in."""
    folder = tmp_path / "a b'c\"d$HOME%n%%ü"
    folder.mkdir()
    tool = tmp_path / "python"
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$(dirname "$0")/words"\n', encoding="utf-8")
    tool.chmod(0o755)
    job = Job(python=str(tool), options=("--config", str(folder / "c.yaml")), about=str(folder), path="/usr/bin:/bin")
    (fields,) = [line for line in crontab.lines(job).splitlines() if not line.startswith("#")]
    command = re.sub(r"\\%", "%", fields.split(maxsplit=5)[5])  # as cron does
    subprocess.run(["sh", "-c", command], check=True)
    assert (tmp_path / "words").read_text(encoding="utf-8").splitlines() == list(job.words("check")[1:])
    paths = written(tmp_path / "units", units(job, "check"))
    done = asked(analyze, "verify", "--man=no", "--user", *paths)
    assert done.returncode == 0, done.stderr


def test_an_interval_that_no_calendar_repeats_is_refused(cli: Cli) -> None:
    with pytest.raises(ValueError, match="near it is 6m"):
        interval(7 * 60)
    done = cli.run("schedule", "systemd", "--every", "7m")
    assert done.returncode == 2
    assert "--every: no calendar can repeat 7m" in done.stderr
    with pytest.raises(ValueError, match="once a minute at the most"):
        interval(30)


@pytest.mark.parametrize(
    ("every", "offset", "expected"),
    [
        (60, 7, "* * * * *"),
        (300, 7, "2-59/5 * * * *"),
        (300, 5, "*/5 * * * *"),
        (3600, 7, "7 * * * *"),
        (7200, 7, "7 */2 * * *"),
        (86400, 7, "7 0 * * *"),
    ],
)
def test_the_five_fields(every: int, offset: int, expected: str) -> None:
    assert crontab.when(every, offset) == expected


def test_cron_has_no_worker(cli: Cli) -> None:
    done = cli.run("schedule", "cron", "--worker")
    assert done.returncode == 2
    assert "schedule systemd --worker" in done.stderr


# -- secrets and programs


def test_what_nobody_provides_is_told_and_a_credential_is_handed_over(cli: Cli) -> None:
    tool = '{command: [true], env: {A: "${ERP_TOKEN}", B: "${KNOWN}", C: "${OTHER:-x}"}}'
    cli.config(f"store: q.db\nenv_file: .env\nprocessors:\n  tool: {tool}\n")
    (cli.folder / ".env").write_text("KNOWN=1\n")
    (cli.folder / ".env").chmod(0o600)
    done = cli.run("schedule", "systemd", ERP_TOKEN="open-sesame")  # noqa: S106 - the shell's own does not help
    place = cli.folder / "credentials" / "ERP_TOKEN"
    assert f"the schedule will not know ERP_TOKEN: it is not in env_file, and there is no file {place}" in done.stderr
    assert f"\n#LoadCredential=ERP_TOKEN:{place}\n" in done.stdout
    assert "KNOWN" not in done.stdout
    assert "open-sesame" not in done.stdout
    place.parent.mkdir()
    place.write_text("open-sesame\n")
    service = printed(cli)["batchctl-check.service"]
    assert f"\nLoadCredential=ERP_TOKEN:{place}\n" in service
    assert "ERP_TOKEN is not set" in cli.run("config", "check").stdout
    assert "cron will not know ERP_TOKEN" in cli.run("schedule", "cron").stderr
    cli.ok("config", "check", CREDENTIALS_DIRECTORY=str(place.parent))  # as the service will see it


def test_programs_of_this_shells_path_are_found(cli: Cli) -> None:
    tools = cli.folder / "tools"
    tools.mkdir()
    (tools / "own-tool").write_text("#!/bin/sh\n")
    (tools / "own-tool").chmod(0o755)
    cli.config(
        "store: q.db\nprocessors:\n  a: {command: [own-tool]}\n  b: {command: [lost-tool]}\n  c: {command: [sh]}\n"
    )
    done = cli.run("schedule", "cron", "--scope", "user", PATH=f"{tools}:/usr/bin:/bin")
    assert f"PATH={tools}:/usr/local/bin:/usr/bin:/bin " in done.stdout
    assert "'lost-tool' is not found" in done.stderr
    assert "own-tool" not in done.stderr


def test_without_a_running_systemd_nothing_is_installed(cli: Cli) -> None:
    """No manager of this user listens in an empty folder."""
    cli.config(COMMAND)
    debian.program("systemctl", "systemd")
    done = cli.run("schedule", "systemd", "--scope", "user", "--install", XDG_RUNTIME_DIR=str(cli.folder))
    assert done.returncode == 2
    assert "this user's systemd does not run" in done.stderr
    assert "schedule cron" in done.stderr
    assert not list((cli.folder / "home").rglob("batchctl-*"))
    done = cli.run("schedule", "cron", "--scope", "user", "--install", PATH=str(cli.folder))
    assert done.returncode == 2
    assert "cron is not on this machine" in done.stderr


# -- among what others put there

OTHERS = "MAILTO=me@example.com\n# mine\n0 3 * * * /usr/bin/backup\n"


def test_a_crontab_keeps_what_others_put_there() -> None:
    job = example("user")
    once = crontab.with_job(OTHERS, job)
    assert once == OTHERS + crontab.lines(job)
    other = replace(job, about="/etc/other.yaml", options=("--config", "/etc/other.yaml"))
    both = crontab.with_job(once, other)
    moved = crontab.with_job(both + "# below\n", replace(job, every=60))
    assert moved == OTHERS + crontab.lines(replace(job, every=60)) + crontab.lines(other) + "# below\n"
    assert crontab.without_job(crontab.without_job(moved, job), other) == OTHERS + "# below\n"
    assert crontab.with_job("0 3 * * * x", job) == "0 3 * * * x\n" + crontab.lines(job)
    assert not crontab.has_job(OTHERS, job)


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "batchctl-check.service"
    job = example()
    assert not ours(path, job)
    path.write_text("[Service]\n")
    with pytest.raises(UsageError, match="was not made by"):
        ours(path, job)
    path.write_text(units(replace(job, about="/other.yaml"), "check")["batchctl-check.service"])
    with pytest.raises(UsageError, match=r"is for /other\.yaml"):
        ours(path, job)
    path.write_text(units(job, "check")["batchctl-check.service"])
    assert ours(path, job)


if __name__ == "__main__":
    for place, text in examples().items():
        place.write_text(text, encoding="utf-8")
