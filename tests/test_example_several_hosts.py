"""examples/several-hosts: its files are what systemd, Kubernetes and batchctl take, and agree with one another."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import debian
import pytest
import yaml
from conftest import Cli
from test_docs import batchctl_calls, wrong_with

FOLDER = Path(__file__).parent.parent / "examples" / "several-hosts"
CONFIG = FOLDER / "batchctl.yaml"
UNIT = FOLDER / "batchctl-worker@.service"
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))


def manifest(path: Path) -> dict[str, Any]:
    (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def pod(path: Path) -> dict[str, Any]:
    """The specification of the pods that a manifest makes."""
    spec = manifest(path)["spec"]
    found = spec["jobTemplate"]["spec"]["template"]["spec"] if "jobTemplate" in spec else spec["template"]["spec"]
    assert isinstance(found, dict)
    return found


def grace() -> float:
    return float(re.fullmatch(r"(\d+)s", yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["worker"]["grace"])[1])  # type: ignore[index]


def test_the_config_is_right_and_its_host_comes_from_the_environment(cli: Cli) -> None:
    shutil.copy(CONFIG, cli.folder / "batchctl.yaml")
    cli.ok("config", "check", "--json")
    assert "//batchctl_worker@localhost/batchctl?sslmode=prefer" in cli.ok("config", "show")
    shown = cli.ok("config", "show", BATCHCTL_DATABASE_HOST="db.example.com", BATCHCTL_SSLMODE="require")
    assert "localhost" not in shown.partition("worker:")[0]  # what came from the environment is masked


def test_the_unit_starts_a_command_that_exists() -> None:
    (line,) = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if line.startswith("ExecStart=")]
    (call,) = batchctl_calls(line.removeprefix("ExecStart="))
    assert wrong_with(call) == []


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    analyze = debian.program("systemd-analyze", "systemd")
    program = shutil.which("true")
    text = UNIT.read_text(encoding="utf-8").replace("/opt/batchctl/bin/batchctl", str(program))
    path = tmp_path / "batchctl-worker@create-invoice.service"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_starts_a_command_that_exists() -> None:
    text = (FOLDER / "Containerfile").read_text(encoding="utf-8")
    entry, command = (yaml.safe_load(re.search(rf"^{word} (.*)$", text, re.M)[1]) for word in ("ENTRYPOINT", "CMD"))  # type: ignore[index]
    (call,) = batchctl_calls(shlex.join(entry + command))
    assert wrong_with(call) == []
    (copied,) = re.findall(r"^COPY .*?(\S+) (\S+)$", text, re.M)
    assert copied == (CONFIG.name, entry[2])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_starts_a_command_that_exists_with_rights_to_nothing_else(path: Path) -> None:
    kinds = {"Deployment": "apps/v1", "CronJob": "batch/v1", "Job": "batch/v1"}
    assert manifest(path)["apiVersion"] == kinds[manifest(path)["kind"]]
    (container,) = pod(path)["containers"]
    assert wrong_with(container["args"]) == []
    assert pod(path)["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod(path)["volumes"]}


def test_workers_may_end_what_runs_before_they_are_killed() -> None:
    worker = FOLDER / "kubernetes" / "worker.yaml"
    assert pod(worker)["terminationGracePeriodSeconds"] > grace()
    labels = manifest(worker)["spec"]["template"]["metadata"]["labels"]
    assert manifest(worker)["spec"]["selector"]["matchLabels"] == labels
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(encoding="utf-8"), re.M)
    assert float(stop) > grace()


def test_all_read_the_password_from_a_secret_and_use_one_image() -> None:
    images = set()
    for path in MANIFESTS:
        (container,) = pod(path)["containers"]
        images.add(container["image"])
        assert container["envFrom"][0]["secretRef"]["name"].startswith("batchctl-")
        assert "PGPASSWORD" not in {variable["name"] for variable in container.get("env", ())}
    assert len(images) == 1
    assert manifest(FOLDER / "kubernetes" / "check.yaml")["spec"]["schedule"].count(" ") == 4
