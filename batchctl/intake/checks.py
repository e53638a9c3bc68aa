"""What a processor needs of an item, looked at before anything is stored."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from batchctl.config.structs import CommandSpec, HttpSpec, ProcessorConfig, StepsSpec
from batchctl.intake import placeholders
from batchctl.template import FILE_NAMES, Template

Check = Callable[[Mapping[str, Any]], list[str]]


def check_of(config: ProcessorConfig, secrets: Mapping[str, Any], *, files: bool) -> Check | None:
    """A function from a payload to the reasons why the processor can't work on it; None where it takes anything.

    A secret that is missing for one item (`secrets.keys[account]`) is one of the reasons; where secrets can't be had at
    all that is the processor's own problem, and its items wait. Raises ConfigError where a template can't be compiled.
    """
    checks: list[Check] = []
    needed = [template for template in (*templates_of(config), *_added(config)) if not template.constant]
    if needed:
        known = FILE_NAMES if files else frozenset()
        checks.append(lambda payload: _lacks_of_templates(needed, payload, known))
    secret = [template for template in needed if template.uses_secrets] if not config.problems else []
    if secret:
        checks.append(_lacks_of_secrets(secret, secrets, checks[0], FILE_NAMES if files else frozenset()))
    spec = config.spec
    if not files and isinstance(spec, CommandSpec) and spec.style == "parallel":
        checks.append(lambda payload: _lacks_of_words(spec.argv, payload))
    if not checks:
        return None
    return checks[0] if len(checks) == 1 else lambda payload: [reason for check in checks for reason in check(payload)]


def templates_of(config: ProcessorConfig) -> list[Template]:
    """Every template that is filled in before the work starts (not those over the answer)."""
    if isinstance(config.spec, StepsSpec):
        return [template for part in config.parts for template in templates_of(part)]
    where = f"processors.{config.name}.{config.kind}"
    match config.spec:
        case CommandSpec() as spec:
            parts: dict[str, Any] = {"env": dict(spec.env), "stdin": spec.stdin, "stdout_to": spec.stdout_to}
            if spec.style == "jinja":
                parts[""] = list(spec.argv)
        case HttpSpec() as spec:
            names = ("params", "headers", "json", "form", "body", "file")
            parts = {name: getattr(spec, name) for name in names}
            return [Template(spec.url, where=f"{where}.url", url=True), *_compiled(parts, where)]
        case _:
            return []
    return _compiled(parts, where)


def _added(config: ProcessorConfig) -> list[Template]:
    """What goes beside the result: it must not turn out to be missing when the work is done."""
    return _compiled(config.into.add, f"processors.{config.name}.into.add") if config.into else []


def _compiled(parts: Mapping[str, Any], where: str) -> list[Template]:
    return [
        Template(source, where=f"{where}.{name}" if name else where)
        for name, source in parts.items()
        if source is not None
    ]


def _lacks_of_templates(templates: Sequence[Template], payload: Mapping[str, Any], known: Collection[str]) -> list[str]:
    lacks: dict[str, str] = {}
    for template in templates:
        for name in template.missing(payload, known):
            lacks.setdefault(name, template.where)
    return [f"has no {name!r}, which {where} needs{nearest(name, payload)}" for name, where in lacks.items()]


def _lacks_of_secrets(
    templates: Sequence[Template], secrets: Mapping[str, Any], before: Check, known: Collection[str]
) -> Check:
    from batchctl import jinja

    kept = jinja.tolerant(secrets)

    def check(payload: Mapping[str, Any]) -> list[str]:
        if before(payload):
            return []
        lacks = ((template.missing_secret(payload, known, kept), template.where) for template in templates)
        return [
            f"needs the secret {name!r} for {where}, which the config does not have"
            for name, where in lacks
            if name is not None
        ]

    return check


def _lacks_of_words(words: Sequence[str], payload: Mapping[str, Any]) -> list[str]:
    lacks = placeholders.missing(words, payload)
    unusable = placeholders.unusable(words, payload)
    return [
        *(f"has no {name!r}, which the command needs as {{{name}}}{nearest(name, payload)}" for name in lacks),
        *(f"{name!r} holds a NUL character, which no command's argument can" for name in unusable),
    ]


def nearest(name: str, known: Collection[str]) -> str:
    """ " (did you mean 'email'?)" or nothing."""
    if name.partition(".")[0] in known:  # something inside of it is missing
        return ""
    folded = {other.strip().casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, 1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
