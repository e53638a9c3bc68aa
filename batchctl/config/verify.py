"""Compiles every template of a config, so that `config check` finds what else would come up at the first item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchctl.config.notifications import SAMPLE
from batchctl.config.problems import Path, dotted
from batchctl.config.report import Mode, Report
from batchctl.config.shapes import is_missing
from batchctl.errors import ConfigError
from batchctl.template import Template, TemplateError, expression


def verify(report: Report) -> None:
    """Notes the templates that do not compile. Imports Jinja where there are any beyond plain lookups."""
    for found in list(report.templates):
        _verify(found.source, found.path, found.mode, report)


def _verify(source: Any, path: Path, mode: Mode, report: Report) -> None:
    """Inside of lists and mappings everything is a template: `result: {id: "{{ body.id }}"}`."""
    if isinstance(source, dict):
        for name, below in source.items():
            _verify(below, (*path, name), "template", report)
    elif isinstance(source, list):
        for number, below in enumerate(source):
            _verify(below, (*path, number), "template", report)
    elif isinstance(source, str):
        try:
            _compile(source, dotted(path), mode)
        except ConfigError as error:
            report.error(path, error.message)


def _compile(source: str, where: str, mode: Mode) -> None:
    if mode == "expression":
        expression(source, where=where)
    else:
        Template(source, where=where, url=mode == "url")


def verify_addresses(
    told: Any, secrets: Mapping[str, Any], probe: Callable[[str], str | None] | None, report: Report
) -> None:
    """Notes the addresses of `notifications:` that name what a message has not, or that nobody understands. `probe`
    says what is wrong with an address (a URL with its credentials), None for nothing."""
    for number, entry in enumerate(told if isinstance(told, list) else ()):
        found = entry.get("to") if isinstance(entry, Mapping) else None
        for place, to in enumerate(found if isinstance(found, list) else [found]):
            path: Path = ("notifications", number, "to", *([place] if isinstance(found, list) else []))
            if isinstance(to, str) and "://" in to and not is_missing(to):
                _verify_address(to, path, secrets, probe, report)


def _verify_address(
    to: str, path: Path, secrets: Mapping[str, Any], probe: Callable[[str], str | None] | None, report: Report
) -> None:
    try:
        url = str(Template(to, where=dotted(path), url=True).render({**SAMPLE, "secrets": secrets}))
    except TemplateError as error:
        report.error(path, f"{error.message}: an address sees `batch`, `event`, `processor` and `secrets`")
    except ConfigError as error:
        report.error(path, error.message)
    else:
        if probe is not None and (wrong := probe(url)):
            report.value_error(path, wrong)
