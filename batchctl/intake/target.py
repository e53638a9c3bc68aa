"""Which processor is meant: one of the config, or the words after `--`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from batchctl.config.structs import Config, ProcessorConfig
from batchctl.errors import InvalidInput, UsageError
from batchctl.intake.limits import Rule, rules_for
from batchctl.intake.names import is_utf8, readable

INLINE = "inline:"


@dataclass(frozen=True, slots=True)
class Target:
    """What the items are for. `definition` is the JSON text of an inline command, else None; `rules` is all that limits
    what may be enqueued."""

    name: str
    config: ProcessorConfig
    definition: str | None = None
    secrets: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


def named(config: Config, name: str | None, organization: str | None = None) -> Target:
    """The processor of that name, or the only one. Raises InvalidInput, naming the nearest or all."""
    known = config.processors
    if name is None and len(known) == 1:
        name = next(iter(known))
    if name is None:
        hint = f"-p {' or -p '.join(sorted(known))}" if known else "add -p, or a command: `… -- gzip -k {}`"
        what = "the config has several processors" if known else f"there are no processors ({_place(config)})"
        raise UsageError(f"which processor? {what}", hint=hint)
    if name not in known:
        raise InvalidInput(f"there is no processor {name!r} ({_place(config)})", hint=_near(name, known))
    rules = rules_for(known[name], config.organizations, organization)
    return Target(name, known[name], secrets=config.secrets, rules=rules)


def inline(
    config: Config, words: Sequence[str], folder: str, settings: Mapping[str, Any], organization: str | None = None
) -> Target:
    """The words after `--` as a processor of their own. `settings` are timeout, retries and stdout_to where given.

    Raises InvalidInput for words that can't be stored, ConfigError for settings that don't fit.
    """
    from batchctl.config import inline as configured

    if not words or not words[0]:
        raise UsageError("there is no command after --", hint="as in `batchctl enqueue files *.log -- gzip -k {}`")
    for text in (*words, folder, *settings.values()):
        if isinstance(text, str) and not is_utf8(text):
            raise InvalidInput(f"{readable(text)}: the command must be UTF-8, and its folder", hint="use a script")
    definition = json.dumps({"command": list(words), "folder": folder, **settings}, ensure_ascii=False)
    name = INLINE + (PurePath(words[0]).name or words[0])
    made = configured(definition)
    return Target(name, made, definition, rules=rules_for(made, config.organizations, organization))


def _place(config: Config) -> str:
    return str(config.path) if config.path else "no config file was found"


def _near(name: str, known: Collection[str]) -> str | None:
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known are {', '.join(sorted(known))}" if known else "`batchctl init` writes a config"
