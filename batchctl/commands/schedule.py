"""`schedule systemd|cron`: the units or the crontab line for this config; puts them in place, takes them away."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.errors import InvalidInput, UsageError

if TYPE_CHECKING:
    from batchctl.schedule import Job, Part

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_UNIT = re.compile(r"[\w@%.:-]+\.\w+")


class Manager(StrEnum):
    SYSTEMD = "systemd"
    CRON = "cron"


class Where(StrEnum):
    USER = "user"
    SYSTEM = "system"


def register(app: typer.Typer) -> None:
    app.command("schedule")(schedule)


def schedule(
    ctx: typer.Context,
    manager: Annotated[Manager, typer.Argument(metavar="systemd|cron", help="Who starts it.", show_default=False)],
    every: Annotated[str, typer.Option(metavar="TIME", help="How often `check` runs.")] = "5m",
    scope: Annotated[
        Where | None, typer.Option(help="For this user, or for the machine (default: the machine, for root).")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Put it in place and start it.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take away what --install put there.")] = False,
    worker: Annotated[
        bool, typer.Option("--worker", help="The service that runs `run --forever`, not the timer (systemd).")
    ] = False,
    run_as: Annotated[
        str | None, typer.Option(metavar="USER", help="Who runs it, with --scope system (default: who owns the store).")
    ] = None,
    write: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER", help="A folder that the work may write to; repeatable.")
    ] = None,
    on_failure: Annotated[
        str | None, typer.Option(metavar="UNIT", help="The unit to start when `check` or the worker fails (systemd).")
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="First part of the names, for a second config on this machine.")
    ] = "batchctl",
) -> None:
    """Print the systemd units or the crontab line that run `check` for this config, absolute paths filled in.

    Nothing is changed without --install or --remove.
    """
    shared = globals_of(ctx)
    _refuse(manager, install=install, remove=remove, worker=worker, name=name, on_failure=on_failure)
    chosen = scope or (Where.SYSTEM if os.geteuid() == 0 else Where.USER)
    if run_as is not None and chosen is not Where.SYSTEM:
        raise UsageError("--run-as goes with --scope system", hint="a user's own schedule runs as that user")
    job = _job(shared, chosen, run_as, every, tuple(write or ()), on_failure, name)
    part: Part = "worker" if worker else "check"
    plan = _Act(shared, manager, job, part)
    if remove:
        plan.remove()
        return
    for warning in plan.warnings():
        console.warn(warning)
    if install:
        plan.install()
    else:
        plan.show()


def _refuse(manager: Manager, *, install: bool, remove: bool, worker: bool, name: str, on_failure: str | None) -> None:
    if install and remove:
        raise UsageError("--install and --remove: one of them")
    if worker and manager is Manager.CRON:
        raise UsageError(
            "cron starts programs and does not watch over them, so it has no --worker",
            hint="use `batchctl schedule systemd --worker`, or let cron run `check`",
        )
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"--name {name!r}: it takes letters, digits, - and _")
    if on_failure is not None and not _UNIT.fullmatch(on_failure):
        raise InvalidInput(f"--on-failure {on_failure!r}: it takes the name of a unit, such as tell-me@%n.service")


def _job(
    shared: Globals,
    scope: Where,
    run_as: str | None,
    every: str,
    write: tuple[str, ...],
    on_failure: str | None,
    name: str,
) -> Job:
    from batchctl.duration import duration
    from batchctl.schedule.job import interval
    from batchctl.schedule.survey import survey

    try:
        seconds = interval(duration(every))
    except ValueError as error:
        raise InvalidInput(f"--every: {error}") from error
    return survey(
        shared.config(),
        shared.environ,
        store=shared.store_url,
        organization=shared.organization,
        name=name,
        scope=scope.value,
        user=run_as,
        every=seconds,
        write=tuple(str(shared.cwd / folder) for folder in write),
        on_failure=on_failure,
    )


@dataclass(frozen=True)
class _Act:
    """What is done with a job: shown, installed or removed, and told about."""

    shared: Globals
    manager: Manager
    job: Job
    part: Part

    def warnings(self) -> list[str]:
        from batchctl.schedule.survey import programs

        job, config = self.job, self.shared.config()
        found = [
            f"the schedule will not know {variable}: it is not in env_file"
            + (f", and there is no file {path}" if self.manager is Manager.SYSTEMD else "")
            for variable, path in job.absent
        ]
        if self.manager is Manager.CRON:
            found += [f"cron will not know {variable}: write it into env_file" for variable, _ in job.credentials]
        import shutil

        found += [
            f"the program {program!r} is not found on PATH"
            for program in programs(config)
            if shutil.which(program, path=job.path) is None
        ]
        if job.user == "root":
            found.append("it will run as root; --run-as names another user")
        return found

    def texts(self) -> dict[str, str]:
        """What is put in place, by its path (the user's crontab has none)."""
        from batchctl.schedule import crontab, units
        from batchctl.schedule.place import Cron, Systemd

        if self.manager is Manager.SYSTEMD:
            folder = Systemd(self.job.scope, self.shared.environ).folder
            return {str(folder / name): text for name, text in units.units(self.job, self.part).items()}
        place = Cron(self.job.scope, self.shared.environ).place(self.job)
        try:
            return {str(place or "crontab"): crontab.lines(self.job)}
        except ValueError as error:
            raise InvalidInput(str(error)) from error

    def show(self) -> None:
        texts = self.texts()
        if self.shared.json:
            self._emit(texts)
            return
        for path, text in texts.items():
            if path != "crontab":
                console.out(f"# {path}")
            console.raw(text)
            if path != list(texts)[-1]:
                console.out()
        console.note("--install puts it in place")

    def install(self) -> None:
        from batchctl.schedule.place import Cron, Systemd

        texts = self.texts()
        if self.manager is Manager.SYSTEMD:
            Systemd(self.job.scope, self.shared.environ).install(self.job, self.part)
        else:
            Cron(self.job.scope, self.shared.environ).install(self.job)
        if self.shared.json:
            self._emit(texts, installed=True)
            return
        for path in texts:
            console.note(f"installed: {'your crontab' if path == 'crontab' else path}")
        self._next()

    def _next(self) -> None:
        from batchctl.schedule.place import linger
        from batchctl.schedule.units import started

        if self.manager is Manager.CRON:
            where = "with `crontab -l`" if self.job.scope == "user" else "there"
            console.note(f"see it {where}; `batchctl doctor` tells whether it fires")
            return
        user = "--user " if self.job.scope == "user" else ""
        console.note(f"see it with `systemctl {user}status {started(self.job, self.part)}`")
        if self.job.scope == "user" and linger(self.shared.environ) is False:
            console.warn("it stops when you log out; `loginctl enable-linger` lets it go on")

    def remove(self) -> None:
        from batchctl.schedule.place import Cron, Systemd

        if self.manager is Manager.SYSTEMD:
            gone = [str(path) for path in Systemd(self.job.scope, self.shared.environ).remove(self.job, self.part)]
        else:
            place = Cron(self.job.scope, self.shared.environ)
            gone = [str(place.place(self.job) or "crontab")] if place.remove(self.job) else []
        if self.shared.json:
            console.emit_json({"kind": self.manager.value, "scope": self.job.scope, "removed": gone})
        elif gone:
            for path in gone:
                console.note(f"removed: {'the lines in your crontab' if path == 'crontab' else path}")
        else:
            console.note("nothing of that name was installed for this config")

    def _emit(self, texts: dict[str, str], *, installed: bool = False) -> None:
        files = [{"path": None if path == "crontab" else path, "content": text} for path, text in texts.items()]
        head = {"kind": self.manager.value, "scope": self.job.scope, "installed": installed}
        console.emit_json({**head, "files": files, "warnings": self.warnings()})
