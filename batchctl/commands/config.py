"""`config check|show|schema`: what is wrong with the config, what it comes to, what it may hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of

if TYPE_CHECKING:
    from batchctl.config import Config, Problem


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Check, show or describe the config.")
    group.command("check")(check)
    group.command("show")(show)
    group.command("schema")(schema)
    app.add_typer(group, name="config")


def check(ctx: typer.Context) -> None:
    """Show every problem at once, each with its line.

    Exit code: 0 all is well, 2 there are problems.
    """
    from batchctl.config import examine

    shared = globals_of(ctx)
    config, problems = examine(shared.config_path, shared.environ, shared.cwd, probe=_probe)
    serious = [problem for problem in problems if problem.level != "warning"]
    if shared.json:
        console.emit_json(_document(config, problems))
    else:
        _print(shared, config, problems)
    if serious:
        raise typer.Exit(2)


def _probe(url: str) -> str | None:
    from batchctl.notify.delivery import probe

    return probe(url)


def _print(shared: Globals, config: Config | None, problems: Sequence[Problem]) -> None:
    serious = [problem for problem in problems if problem.level != "warning"]
    for problem in problems:
        if problem.level == "warning":
            console.warn(str(problem))
        else:
            console.out(str(problem))
    if serious:
        refused = "the config is refused" if config is None else "the processors named above will not run"
        console.note(f"{console.plural(len(serious), 'problem')}: {refused}", style="bold red")
    elif config is not None and config.path is None:
        console.out(f"no config file found, so the defaults hold; the store is {config.effective['store']}")
        console.note(f"looked for: {', '.join(_looked_for(shared))}")
    elif config is not None:
        console.out(f"{config.path}: ok, {console.plural(len(config.processors), 'processor')}")
        for processor in config.processors.values():
            console.out(f"  {processor.name} ({processor.kind})")


def _looked_for(shared: Globals) -> list[str]:
    from batchctl.locate import candidates

    return [str(path) for path in candidates(shared.environ, shared.cwd)]


def _document(config: Config | None, problems: Sequence[Problem]) -> dict[str, Any]:
    serious = [problem for problem in problems if problem.level != "warning"]
    document: dict[str, Any] = {
        "valid": not serious,
        "config": str(config.path) if config and config.path else None,
        "store": config.effective["store"] if config else None,
        "processors": [
            {"name": p.name, "kind": p.kind, "problems": list(p.problems)}
            for p in (config.processors.values() if config else ())
        ],
        "problems": [_problem(problem) for problem in problems],
    }
    if serious:
        from batchctl.config.load import refusal

        error = refusal(serious)
        what = {"code": error.code, "type": error.type, "message": error.message, "details": error.details}
        document["error"] = what
    return document


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "level": problem.level,
        "file": problem.file,
        "line": problem.mark.line if problem.mark else None,
        "column": problem.mark.column if problem.mark else None,
        "processor": problem.processor,
        "text": problem.text,
    }


def show(ctx: typer.Context) -> None:
    """Show what holds: defaults filled in, secrets masked."""
    shared = globals_of(ctx)
    config = shared.config()
    effective = config.masker.value(dict(config.effective))
    if shared.json:
        console.emit_json({"path": str(config.path) if config.path else None, "config": effective})
        return
    import yaml

    console.out(f"# {config.path or 'no config file: the defaults'}")
    text = yaml.safe_dump(effective, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110)
    console.out(text.rstrip("\n"))


def schema(ctx: typer.Context) -> None:  # noqa: ARG001 - every command has one
    """Print the JSON Schema of batchctl.yaml, for editors."""
    from batchctl.config import json_schema

    console.emit_json(json_schema())
