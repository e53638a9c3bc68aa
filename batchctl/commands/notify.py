"""`notify test|list|retry`: messages to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchctl import console
from batchctl.commands.common import Globals, globals_of
from batchctl.engines.again import again, snapshot
from batchctl.errors import InvalidInput, NotFound, UsageError
from batchctl.views.times import ms_of

if TYPE_CHECKING:
    from batchctl.config import Notification
    from batchctl.store import Store

_STATES = ("due", "sending", "sent", "dead")
_COLUMNS = [
    console.Column("id", right=True),
    console.Column("event", rank=1),
    console.Column("batch", rank=4),
    console.Column("target", gives=True),
    console.Column("to", gives=True, rank=2),
    console.Column("state", style=lambda text: {"sent": "green", "dead": "red"}.get(text, "yellow")),
    console.Column("tries", right=True, rank=5),
    console.Column("when", rank=3),
    console.Column("error", gives=True, rank=1),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Messages about the ends of batches and alerts: test, list, send again.")
    group.command("test")(send_test)
    group.command("list")(list_)
    group.command("retry")(retry)
    app.add_typer(group, name="notify")


def send_test(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Only this address: a URL, or a name that `notify list` shows."),
    ] = None,
) -> None:
    """Send a test message to every target of the config, now.

    Exit code: 0 all were sent, 1 one was not, 2 there is nobody to send to.
    """
    shared = globals_of(ctx)
    results = [_tested(shared, one) for one in _chosen(shared, to)]
    if shared.json:
        console.emit_json({"tested": results})
    else:
        for result in results:
            to_whom = f" ({result['recipient']})" if result["recipient"] else ""
            said = "sent" if result["sent"] else f"not sent: {result['error']}"
            style = None if result["sent"] else "red"
            console.out(f"{result['target']}{to_whom}: {said}", style=style)
    if not all(result["sent"] for result in results):
        raise typer.Exit(1)


def _chosen(shared: Globals, to: str | None) -> Sequence[Notification]:
    known = [one for one in shared.config().notifications if _concerns(one, shared.organization)]
    if to is not None and "://" in to:
        from batchctl.config.notifications import build

        return build([{"to": [to]}])
    found = [one for one in known if to in (None, one.id)]
    if not found and to is not None:
        names = ", ".join(one.id for one in known) or "none"
        raise InvalidInput(f"--to {to!r} is neither a URL nor a target of the config", hint=f"its targets: {names}")
    if not found:
        raise UsageError("the config has no notifications", hint="add `notifications:`, or name a URL with --to")
    return found


def _concerns(one: Notification, organization: str | None) -> bool:
    """Whether it is told of this organization's batches; None: of any."""
    return organization is None or not one.organizations or organization in one.organizations


def _tested(shared: Globals, one: Notification) -> dict[str, Any]:
    import secrets

    from batchctl.masking import Masker
    from batchctl.notify.addresses import Unusable, address, recipient
    from batchctl.notify.delivery import Undelivered, deliver
    from batchctl.notify.messages import of_test, one_line

    config = shared.config()
    message = of_test(key=secrets.token_hex(16), user=shared.user)
    told, error = "", None
    own = Masker(_literals(one.to))
    try:
        url = address(one, message.names, config.secrets)
        told = recipient(url)
        deliver(url, message)
    except (Unusable, Undelivered) as problem:
        error = one_line(own(config.masker(str(problem))), 500)
    shown = config.masker(told) or None
    return {"target": one.id, "recipient": shown, "sent": error is None, "error": error}


def _literals(to: str) -> list[str]:
    """What in a URL of the command line may be a credential; those of the config are masked anyway."""
    from batchctl.config.notifications import literals

    return list(literals([{"to": to}]))


def list_(
    ctx: typer.Context,
    status: Annotated[
        str | None, typer.Option("--status", metavar="S", help=f"Only these: {', '.join(_STATES)}.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many, newest first.")] = 50,
) -> None:
    """Show what was sent, is due, or is dead: given up after 23 hours, or refused by the target."""
    shared = globals_of(ctx)
    if status is not None and status not in _STATES:
        raise InvalidInput(f"--status {status!r}: there is no such state", hint=f"one of {', '.join(_STATES)}")
    store = shared.store_or_none()
    found: list[dict[str, Any]] = []
    counts = dict.fromkeys(_STATES, 0)
    if store is not None:
        from batchctl.views.notices import notice_counts, notices

        org = shared.organization
        found, counts = snapshot(store.engine, lambda tx: (notices(tx, status, org, limit), notice_counts(tx, org)))
    if shared.json:
        console.emit_json({"notifications": found, "summary": counts | {"total": sum(counts.values())}})
    elif store is not None:
        _print(shared, found, counts)


def _print(shared: Globals, found: Sequence[dict[str, Any]], counts: dict[str, int]) -> None:
    if found:
        console.table(_COLUMNS, [_row(one) for one in found])
    total = sum(counts.values())
    told = ", ".join(f"{console.number(count)} {state}" for state, count in counts.items() if count)
    console.note(f"{console.plural(total, 'message')}: {told}" if total else "no messages")
    if counts["dead"]:
        console.note("send the dead ones again with `batchctl notify retry`")
    known = {one.id for one in shared.config().notifications}
    if lost := sorted({one["target"] for one in found if one["state"] == "due"} - known):
        console.note(f"the config here has no target {', '.join(lost)}: what is due there waits for one that has")


def _row(one: dict[str, Any]) -> list[object]:
    at = {"sent": one["sent_at"], "due": one["next_attempt_at"]}.get(one["state"]) or one["created_at"]
    return [
        one["id"],
        one["event"],
        one["batch_id"],
        one["target"],
        one["recipient"],
        one["state"],
        one["attempts"],
        console.when(ms_of(at)),
        one["error"],
    ]


def retry(
    ctx: typer.Context,
    messages: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="Which; default: all that are dead.", min=1)
    ] = None,
) -> None:
    """Send dead messages again, now; named ones also where they only wait for their next try.

    Exit code: 0 all were sent, 1 one was not, 4 there is no such message.
    """
    shared = globals_of(ctx)
    store = shared.store_or_none()
    if store is None and messages:
        raise NotFound(f"there is no message {messages[0]}: there is no store yet", hint="`batchctl enqueue` makes one")
    ids = _wanted(shared, store, messages) if store is not None else []
    if store is None or not ids:
        if shared.json:
            console.emit_json({"retried": 0, "sent": 0, "failed": 0, "errors": []})
        else:
            console.note("nothing is dead: there is nothing to send again")
        return
    _send_again(shared, store, ids)


@again
def _wanted(shared: Globals, store: Store, messages: list[int] | None) -> list[int]:
    import json

    with store.engine.read() as tx:
        if not messages:
            return [number for (number,) in tx.all("dead_notices", {"org": shared.organization})]
        wanted = {"ids": json.dumps(messages), "org": shared.organization}
        states: dict[int, str] = dict(tx.all("notice_states", wanted))
    for number in messages:
        if number not in states:
            raise NotFound(f"there is no message {number}", hint="`batchctl notify list` shows them")
        if states[number] in ("sent", "sending"):
            raise UsageError(f"message {number} is {states[number]}: it is not sent again")
    return sorted(set(messages))


def _send_again(shared: Globals, store: Store, ids: Sequence[int]) -> None:
    from batchctl.notify import send_due
    from batchctl.transitions import outbox

    @again
    def put_back() -> int:
        with store.engine.write() as tx:
            return outbox.send_again(tx, ids, store.engine.now())

    count = put_back()
    done = send_due(store, shared.config(), org=shared.organization)
    left = _unsent(shared, store, ids)
    if shared.json:
        errors = [one["error"] for one in left if one["error"]]
        console.emit_json({"retried": count, "sent": len(ids) - len(left), "failed": len(left), "errors": errors})
    else:
        console.out(f"{console.plural(len(ids) - len(left), 'message')} sent")
        for one in left:
            why = one["error"] or f"the config here has no target {one['target']}, or not all that it needs"
            console.warn(f"message {one['id']} to {one['target']} is {one['state']}: {why}")
        if done.sent > len(ids) - len(left):
            console.note(f"{console.plural(done.sent, 'message')} in all: others were due, too")
    if left:
        raise typer.Exit(1)


@again
def _unsent(shared: Globals, store: Store, ids: Sequence[int]) -> list[dict[str, Any]]:
    from batchctl.views.notices import notices

    wanted = set(ids)
    with store.engine.read() as tx:
        return [
            one
            for state in ("due", "sending", "dead")
            for one in notices(tx, state, shared.organization, 1_000_000)
            if one["id"] in wanted
        ]
