"""Compiles every template of a config, so that `config check` finds what else would come up at the first item."""

from __future__ import annotations

from typing import Any

from batchctl.config.problems import Path, dotted
from batchctl.config.report import Mode, Report
from batchctl.errors import ConfigError
from batchctl.template import Template, expression


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
