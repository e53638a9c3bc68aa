"""Every command has help, every option of it says what it does, and each has a page that names them all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from batchctl.cli import main_command
from batchctl.commands import registry

PAGES = Path(__file__).parent.parent / "docs" / "commands"


def commands() -> dict[str, Any]:
    """Every command by the words that call it: "list", "enqueue files"."""
    group = main_command()
    ctx = typer.Context(group)
    found = {}
    for name in registry.COMMANDS:
        command = group.get_command(ctx, name)
        assert command is not None, name
        inner = getattr(command, "commands", {})
        found |= {f"{name} {word}": one for word, one in inner.items()} if inner else {name: command}
    return found


COMMANDS = commands()
OWN = "Global options"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_have_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for param in command.params:
        assert getattr(param, "help", None) or param.name == "help", f"{name}: {param.name} says nothing"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_the_global_options(name: str) -> None:
    names = {option for param in COMMANDS[name].params for option in param.opts}
    assert {"--config", "--store", "--org", "--user", "--verbose", "--quiet", "--no-color", "--json"} <= names


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_page_that_names_its_options(name: str) -> None:
    page = (PAGES / f"{name.split()[0]}.md").read_text(encoding="utf-8")
    for param in COMMANDS[name].params:
        if param.param_type_name == "option" and getattr(param, "rich_help_panel", None) != OWN and not param.hidden:
            longest = max(param.opts, key=len)
            assert re.search(rf"{re.escape(longest)}(?![\w-])", page), f"{name}.md does not tell of {longest}"


def test_the_list_of_pages_names_every_command() -> None:
    text = (PAGES / "index.md").read_text(encoding="utf-8")
    for name in registry.COMMANDS:
        assert f"({name}.md)" in text


@pytest.mark.parametrize("name", registry.COMMANDS)
def test_the_list_of_commands_says_what_each_does(name: str) -> None:
    _, panel, short = registry.COMMANDS[name]
    assert panel
    assert 10 < len(short) < 70
