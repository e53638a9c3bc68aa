"""What a check is given, what it finds, and the list of all checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from batchctl.config import Config, Problem
from batchctl.errors import BatchctlError, ConfigError
from batchctl.schedule.installed import Installed
from batchctl.store import Store

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is. `mend` is what to do about it, in words or as a command."""

    name: str
    level: Level
    text: str
    mend: str | None = None

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "level": self.level, "text": self.text, "mend": self.mend}


@dataclass(frozen=True)
class Patient:
    """What is looked at. What could not be had is None, and its error says why.

    config, problems   the config with all that is wrong with it; refused: the error
    target             the store's path, or its URL without a password
    named              whether flag or environment named the store
    organization       only its work is looked at; None: everybody's
    """

    environ: Mapping[str, str]
    config: Config | None = None
    problems: Sequence[Problem] = ()
    refused: ConfigError | None = None
    store: Store | None = None
    store_error: BatchctlError | None = None
    target: str = ""
    named: bool = False
    flags: Mapping[str, Any] = field(default_factory=dict)
    organization: str | None = None

    @cached_property
    def installed(self) -> list[Installed]:
        """What `schedule --install` put in place for this config."""
        from batchctl.schedule.installed import installed

        about = str(self.config.path) if self.config and self.config.path else self.target
        return installed(about, self.environ)

    @property
    def store_path(self) -> Path | None:
        """The store's file, None on a server."""
        return Path(self.target) if self.target and "://" not in self.target else None


Check = Callable[[Patient], Iterable[Finding]]
_CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Enter a check in the list."""
    _CHECKS.append(function)
    return function


def examine(patient: Patient) -> Iterator[Finding]:
    """Every finding, in order. A check that fails is a finding itself, and stops no other."""
    for one in _CHECKS:
        name = one.__name__.strip("_").replace("_", " ")
        try:
            yield from one(patient)
        except BatchctlError as error:
            yield Finding(name, "problem", error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - the others are owed their turn
            text = f"could not be looked at: {type(error).__name__}: {error}"
            yield Finding(name, "problem", patient.config.masker(text) if patient.config else text)
