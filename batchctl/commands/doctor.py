"""`doctor`: looks at everything that keeps unattended work from going well, and says how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.errors import BatchctlError, ConfigError

if TYPE_CHECKING:
    from batchctl.config import Config, Problem
    from batchctl.doctor import Finding, Patient

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context) -> int:
    """Look whether all is well: config, store, permissions, the environment as cron will see it, schedule, disk, clock.

    Each line is ok, a warning, or a problem with what mends it. Nothing is changed.

    Exit code: 0 no problem, 1 a problem.
    """
    from batchctl.doctor import examine

    shared = globals_of(ctx)
    patient = _patient(shared)
    findings = []
    for finding in examine(patient):
        findings.append(finding)
        if not shared.json:
            _print(shared, finding)
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if shared.json:
        checks = [{key: _masked(shared, value) for key, value in one.document().items()} for one in findings]
        console.emit_json({"ok": not problems, "problems": problems, "warnings": warnings, "checks": checks})
    elif problems or warnings:
        console.note(f"{console.plural(problems, 'problem')}, {console.plural(warnings, 'warning')}")
    return 1 if problems else 0


def _masked(shared: Globals, value: str | None) -> str | None:
    return value if value is None else shared.mask(value)


def _print(shared: Globals, finding: Finding) -> None:
    if finding.level == "ok" and shared.quiet:
        return
    text = shared.mask(finding.text)
    console.out(f"{finding.level:<8} {finding.name}: {text}", style=_STYLES[finding.level])
    if finding.mend and finding.level != "ok":
        console.out(f"{'':<8} mend: {shared.mask(finding.mend)}")


def _patient(shared: Globals) -> Patient:
    """What there is to look at; nothing that is broken stops it."""
    from batchctl.config import examine
    from batchctl.doctor import Patient

    config: Config | None = None
    problems: list[Problem] = []
    refused = None
    try:
        config, problems = examine(shared.config_path, shared.environ, shared.cwd)
        if config is None:
            from batchctl.config.load import refusal

            refused = refusal(problems)
    except ConfigError as error:
        refused = error
    store, store_error, target = None, None, ""
    if config is not None or shared.store_url:
        try:
            target = _shown(shared.target())
            store = shared.open_store()
        except BatchctlError as error:
            store_error = error
    return Patient(
        environ=shared.environ,
        config=config,
        problems=problems,
        refused=refused,
        store=store,
        store_error=store_error,
        target=target,
        named=bool(shared.store_url),
        organization=shared.organization,
    )


def _shown(target: str) -> str:
    """The store without a password; a file's path absolute."""
    from batchctl.config.secrets import masked

    scheme, separator, rest = target.partition("://")
    if separator and scheme != "sqlite":
        return str(masked(target))
    from pathlib import Path

    return str(Path(rest if separator else target).expanduser().absolute())
