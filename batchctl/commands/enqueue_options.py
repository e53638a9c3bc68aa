"""The options that `enqueue files` and `enqueue orders` share, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, get_type_hints

import typer

_AGAIN = "Enqueue again"
_INLINE = "With -- COMMAND"
_RUN = "With --run"


class PriorityName(StrEnum):
    """Higher ones go first, strictly."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class OnDuplicate(StrEnum):
    """What to do with a key that stands twice in the input."""

    REFUSE = "refuse"
    SKIP = "skip"
    LAST = "last"


@dataclass(frozen=True, kw_only=True)
class EnqueueOptions:
    """As given on the command line; nothing is converted yet."""

    processor: Annotated[
        str | None,
        typer.Option(
            "-p", "--processor", metavar="P", help="What is done to each item; may be left out if there is one."
        ),
    ] = None
    name: Annotated[str | None, typer.Option(metavar="NAME", help="A name for the batch.")] = None
    priority: Annotated[PriorityName, typer.Option(help="Higher ones go first, strictly.")] = PriorityName.NORMAL
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start then: 2026-03-01T02:00, 02:00 or +2h.")
    ] = None
    split: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Batches of N items each; they share a group.")
    ] = None
    on_duplicate: Annotated[
        OnDuplicate, typer.Option(help="A key that stands twice: refuse all, skip the later, take the last.")
    ] = OnDuplicate.REFUSE
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the first three, store nothing.")
    ] = False
    print_id: Annotated[bool, typer.Option("--print-id", help="Print the batch's id and nothing else.")] = False

    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="K", help="The same key and content: the same batch.", rich_help_panel=_AGAIN),
    ] = None
    skip_known: Annotated[
        bool,
        typer.Option("--skip-known", help="Leave out what was done or is queued already.", rich_help_panel=_AGAIN),
    ] = False
    again: Annotated[
        bool, typer.Option("--again", help="Even if the same is queued and unfinished.", rich_help_panel=_AGAIN)
    ] = False

    timeout: Annotated[
        str | None, typer.Option(metavar="T", help="For each attempt: 30s, 15m.", rich_help_panel=_INLINE)
    ] = None
    retries: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Tries after the first.", rich_help_panel=_INLINE)
    ] = None
    stdout_to: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help='File for the output: "out/{{ key }}.txt".', rich_help_panel=_INLINE),
    ] = None

    run: Annotated[bool, typer.Option("--run", help="Drain it right away.", rich_help_panel=_RUN)] = False
    concurrency: Annotated[
        int | None,
        typer.Option("-j", "--concurrency", min=1, metavar="N", help="Items at once.", rich_help_panel=_RUN),
    ] = None
    max_time: Annotated[
        str | None, typer.Option(metavar="T", help="No new items after this: 55s.", rich_help_panel=_RUN)
    ] = None
    grace: Annotated[
        str | None, typer.Option(metavar="T", help="For what runs, when it is to stop.", rich_help_panel=_RUN)
    ] = None
    max_items: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many items.", rich_help_panel=_RUN)
    ] = None
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only what is due now.", rich_help_panel=_RUN)] = False
    wait_remote: Annotated[
        bool, typer.Option("--wait-remote", help="Wait for providers, too.", rich_help_panel=_RUN)
    ] = False
    forever: Annotated[bool, typer.Option("--forever", help="Go on as a worker.", rich_help_panel=_RUN)] = False

    def given(self, *names: str) -> list[str]:
        """Which of these fields are not at their default, as options (`--max-time`)."""
        defaults = {field.name: field.default for field in fields(self)}
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) != defaults[name]]


def sharing(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command for Typer that takes the shared options beside its own, and hands them on as `options`."""
    hints = get_type_hints(EnqueueOptions, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(field.name, keyword, annotation=hints[field.name], default=field.default)
        for field in fields(EnqueueOptions)
    ]
    names = {parameter.name for parameter in shared}

    def taking(ctx: typer.Context, **values: Any) -> Any:
        own = {name: value for name, value in values.items() if name not in names}
        options = EnqueueOptions(**{name: value for name, value in values.items() if name in names})
        return command(ctx, options=options, **own)

    signature = inspect.signature(command, eval_str=True)
    first, *rest = (parameter for parameter in signature.parameters.values() if parameter.name != "options")
    own = [first, *(parameter.replace(kind=keyword) for parameter in rest)]
    taking.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    taking.__doc__, taking.__name__ = command.__doc__, command.__name__
    return taking
