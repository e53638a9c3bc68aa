"""`doctor`: what it finds wrong, and the mend it names."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

from batchctl.engines.filesystem import kind_of

CONFIG = "store: q.db\nworker: {min_free: 0}\nprocessors:\n  copy: {command: [cp, a, b]}\n"


def found(cli: Cli, level: str, *args: str, code: int | None = None, **env: str) -> dict[str, list[dict[str, Any]]]:
    """The findings of that level by name; the exit code must fit."""
    done = cli.json("doctor", *args, code=(1 if level == "problem" else 0) if code is None else code, **env)
    assert done["ok"] is not any(one["level"] == "problem" for one in done["checks"])
    by_name: dict[str, list[dict[str, Any]]] = {}
    for one in done["checks"]:
        if one["level"] == level:
            by_name.setdefault(one["name"], []).append(one)
    return by_name


def only(findings: dict[str, list[dict[str, Any]]], name: str) -> dict[str, Any]:
    (one,) = findings[name]
    return one


def with_store(cli: Cli, text: str = CONFIG) -> Path:
    cli.config(text)
    cli.ok("enqueue", "orders", "--id", "1", "-p", "copy")
    return cli.folder / "q.db"


def test_all_is_well(cli: Cli) -> None:
    with_store(cli)
    cli.run("check")
    findings = found(cli, "ok")
    assert set(findings) >= {"config", "store", "permissions", "secrets", "programs", "disk", "clock", "open files"}
    assert "no damage found" in only(findings, "store")["text"]
    assert cli.ok("doctor", "-q") == ""


def test_lines_for_people_name_the_mend(cli: Cli) -> None:
    store = with_store(cli)
    store.chmod(0o644)
    done = cli.run("doctor")
    assert done.returncode == 1
    assert f"problem  permissions: others may look into {store}" in done.stdout
    assert f"\n         mend: chmod go-rwx {store}" in done.stdout
    assert "1 problem" in done.stderr


def test_a_config_that_is_refused_does_not_stop_it(cli: Cli) -> None:
    cli.config("processors:\n  x: {comand: [a]}\n")
    assert "did you mean `command`" in only(found(cli, "problem"), "config")["text"]


def test_nothing_at_all_is_no_problem(cli: Cli) -> None:
    assert "the first `batchctl enqueue` makes it" in only(found(cli, "ok"), "store")["text"]
    assert not list((cli.folder / "home").rglob("*.db"))


def test_a_damaged_store(cli: Cli) -> None:
    store = with_store(cli)
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = connection.execute("PRAGMA page_size").fetchone()[0]
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'attempt_logs'").fetchone()[0]
    with store.open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xff" * page)
    one = only(found(cli, "problem"), "store")
    assert "damaged" in one["text"]
    assert "backup" in one["mend"]


def test_secrets_that_only_this_shell_knows(cli: Cli) -> None:
    tool = '{command: [cp, a, b], env: {A: "${ERP_TOKEN}"}}'
    cli.config(f"store: q.db\nenv_file: .env\nprocessors:\n  tool: {tool}\n")
    env = cli.folder / ".env"
    env.write_text("")
    env.chmod(0o600)
    one = only(found(cli, "warning", ERP_TOKEN="open-sesame"), "secrets")  # noqa: S106 - no secret
    assert "does not know ERP_TOKEN: it is set in this shell alone" in one["text"]
    assert "env_file" in one["mend"]
    assert "it is not set here either" in only(found(cli, "problem"), "secrets")["text"]
    env.write_text("ERP_TOKEN=open-sesame\n")
    assert "secrets" in found(cli, "ok")
    env.chmod(0o644)
    one = only(found(cli, "warning"), "permissions")
    assert one["mend"] == f"chmod 600 {env}"


def test_programs_that_cron_does_not_find(cli: Cli) -> None:
    tools = cli.folder / "tools"
    tools.mkdir()
    (tools / "own-tool").write_text("#!/bin/sh\n")
    (tools / "own-tool").chmod(0o755)
    (tools / "plain").write_text("")
    cli.config("processors:\n  a: {command: [own-tool]}\n  b: {command: [lost-tool]}\n  c: {command: [tools/plain]}\n")
    path = f"{tools}:{os.environ['PATH']}"
    problems = found(cli, "problem", PATH=path)["programs"]
    assert [one["text"] for one in problems] == ["lost-tool is not on PATH", f"{tools}/plain cannot be run"]
    assert problems[1]["mend"] == f"chmod +x {tools}/plain"
    warning = only(found(cli, "warning", code=1, PATH=path), "programs")
    assert f"own-tool is in {tools}, which is not on the PATH of cron" in warning["text"]


def test_items_whose_processor_no_config_knows(cli: Cli) -> None:
    with_store(cli)
    cli.config(CONFIG.replace("copy:", "renamed:"))
    one = only(found(cli, "problem"), "processors")
    assert one["text"] == "1 item of 1 batch wait for copy, which this config does not know"
    cli.ok("enqueue", "orders", "--id", "2", "--", "true")  # brings its own
    assert len(found(cli, "problem")["processors"]) == 1


def test_a_broken_processor(cli: Cli) -> None:
    with_store(cli, CONFIG.replace("cp", "no-such-program"))
    cli.run("run")
    texts = [one["text"] for one in found(cli, "problem")["processors"]]
    assert any("copy is broken" in text for text in texts)


def test_a_message_that_could_not_be_delivered(cli: Cli) -> None:
    store = with_store(cli)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "INSERT INTO outbox (event, target, message, state, created_at) VALUES ('failed', 't', x'00', 'dead', 1)"
        )
    assert only(found(cli, "problem"), "notifications")["text"] == "1 message could not be delivered"


def test_a_clock_that_was_put_back(cli: Cli) -> None:
    store = with_store(cli)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE events SET at = at + 3600000")
    assert "60 min behind the newest entry" in only(found(cli, "problem"), "clock")["text"]


def test_a_disk_with_too_little_room(cli: Cli) -> None:
    with_store(cli)
    cli.config(CONFIG.replace("min_free: 0", "min_free: 900000TB"))
    assert "less than worker.min_free" in only(found(cli, "problem"), "disk")["text"]


def test_too_few_open_files(cli: Cli) -> None:
    cli.config(CONFIG.replace("min_free: 0", "min_free: 0, concurrency: 300"))
    script = f"ulimit -n 256; exec {sys.executable} -m batchctl doctor"
    done = subprocess.run(["sh", "-c", script], cwd=cli.folder, env=cli.environment(), capture_output=True, text=True)
    assert "problem  open files: 300 items at once may need 3064 open files, and 256 are allowed" in done.stdout


def test_a_schedule_that_fires_and_one_that_does_not(cli: Cli) -> None:
    store = with_store(cli, CONFIG.replace("[cp, a, b]", "['true']"))
    assert "nothing here runs check; none has ended yet" in only(found(cli, "warning"), "schedule")["text"]
    units = cli.folder / "home/.config/systemd/user"
    units.mkdir(parents=True)
    for file in cli.json("schedule", "systemd", "--scope", "user")["files"]:
        (units / Path(file["path"]).name).write_text(file["content"])
    assert "installed a moment ago" in only(found(cli, "ok"), "schedule")["text"]
    long_ago = time.time() - 86_400
    os.utime(units / "batchctl-check.timer", (long_ago, long_ago))
    one = only(found(cli, "problem"), "schedule")
    assert "it does not fire: systemd, every 5 min" in one["text"]
    assert "systemctl --user status batchctl-check.timer" in one["mend"]
    cli.ok("check")
    assert "the last check ended" in only(found(cli, "ok"), "schedule")["text"]
    note = store.with_name("q.db.run") / "check.json"
    os.utime(note, (long_ago, long_ago))
    assert "1 d ago" in only(found(cli, "problem"), "schedule")["text"]


MOUNTS = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 25 0:42 / /srv/share rw,relatime shared:2 master:1 - nfs4 server:/x rw,vers=4.2
31 25 0:43 / /odd rw - fuse.sshfs me@host:/ rw
"""


@pytest.mark.parametrize(
    ("device", "kind"), [("254:0", "ext4"), ("0:42", "nfs4"), ("0:43", "fuse.sshfs"), ("0:4", None)]
)
def test_the_kind_of_a_file_system(device: str, kind: str | None) -> None:
    assert kind_of(device, MOUNTS) == kind


def test_a_store_on_a_network_file_system_is_refused(cli: Cli) -> None:
    """The list of mounts that this one process sees says so: a file is mounted over it, in a mount namespace."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("only root may mount")
    device = cli.folder.stat().st_dev
    line = f"25 1 {os.major(device)}:{os.minor(device)} / / rw,relatime - nfs4 server:/x rw\n"
    (cli.folder / "mounts").write_text(line)
    cli.config(CONFIG)
    script = f'mount --bind mounts /proc/$$/mountinfo && exec {sys.executable} -m batchctl "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh"]
    order = ["enqueue", "orders", "--id", "1", "-p", "copy"]
    done = subprocess.run([*words, *order], cwd=cli.folder, env=cli.environment(), capture_output=True, text=True)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 5
    assert "lies on a network file system (nfs4)" in done.stderr
    assert "postgresql://" in done.stderr
    assert not (cli.folder / "q.db").exists()
