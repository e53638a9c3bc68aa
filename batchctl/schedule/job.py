"""What is to be started, when and as whom: all that units and crontab lines say. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["systemd", "cron"]
Scope = Literal["user", "system"]
Part = Literal["check", "worker"]

MINUTE, HOUR, DAY = 60, 3600, 86_400
# A calendar can only repeat what divides the hour or the day.
_MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
_HOURS = (1, 2, 3, 4, 6, 8, 12)
INTERVALS = (*(n * MINUTE for n in _MINUTES), *(n * HOUR for n in _HOURS), DAY)


@dataclass(frozen=True, slots=True)
class Job:
    """One config's work on one machine.

    python        the interpreter, absolute
    options       global options that lead to the config and store, with absolute paths
    about         the config's path (without one the store's): what the texts are for
    name          first part of the names of units and files
    user          who runs it in the scope `system`
    every         seconds; one of INTERVALS
    grace         seconds that running items get when the service is stopped
    path          $PATH
    writable      folders that the work writes to
    needed        paths that must be mounted and visible: config, store, interpreter
    state         folder below /var/lib that the service owns
    credentials   (variable, file that holds its value)
    absent        (variable, file that could hold it): the config wants it, and nobody provides it
    on_failure    a unit to start when this one fails
    offset        which minute of an interval, or minute of the hour
    """

    python: str
    options: tuple[str, ...]
    about: str
    name: str = "batchctl"
    scope: Scope = "user"
    user: str | None = None
    every: int = 300
    grace: float = 30.0
    path: str = "/usr/local/bin:/usr/bin:/bin"
    writable: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    state: str | None = None
    credentials: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()
    on_failure: str | None = None
    offset: int = 0

    def words(self, *command: str) -> tuple[str, ...]:
        """The command line. -P: no module of the current folder may take the place of another."""
        return (self.python, "-P", "-m", "batchctl", *self.options, *command)

    @property
    def marker(self) -> str:
        """The first line of everything that is put in place: whose it is."""
        return f"# Made by `batchctl schedule` for {self.about}"


def interval(seconds: float) -> int:
    """The interval as it can be scheduled. Raises ValueError, in words, for one that a calendar cannot repeat."""
    if seconds in INTERVALS:
        return int(seconds)
    if seconds < MINUTE:
        raise ValueError("`check` is started once a minute at the most (1m); a --worker starts work at once")
    near = min(INTERVALS, key=lambda known: abs(known - seconds))
    raise ValueError(
        f"no calendar can repeat {spoken(int(seconds))}, for it does not divide the hour or the day; "
        f"near it is {spoken(near)}"
    )


def spoken(seconds: int) -> str:
    """30s, 5m, 2h, 1d, 1h30m: as options are written."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
