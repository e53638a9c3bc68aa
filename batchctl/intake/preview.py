"""What would be sent or run for an item, as --dry-run and `try` show it. Nothing here has an effect."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Mapping
from typing import Any

from batchctl.config.structs import CommandSpec, HttpSpec, ProcessorConfig, PythonSpec, StepsSpec
from batchctl.intake import placeholders
from batchctl.model import BatchRef, Incoming, Item, NewBatch
from batchctl.template import Template, scope, to_text
from batchctl.transitions.file_facts import file_ref

_LONGEST = 4_000  # characters of a body that are shown


def item_of(incoming: Incoming, new: NewBatch, *, total: int = 1) -> Item:
    """The item as a worker would claim it, in a batch that does not exist."""
    now = time.time_ns() // 1_000_000
    batch = BatchRef(
        id="b" + "0" * 12,
        name=new.name,
        organization=new.organization,
        user=new.user,
        kind=new.kind,
        created_at=now,
        total_items=total,
    )
    return Item(
        number=0,
        batch=batch,
        processor=new.processor,
        key=incoming.key,
        position=incoming.position,
        raw_payload=incoming.payload,
        file=file_ref(incoming.file) if incoming.file else None,
        idempotency_key=uuid.uuid4().hex,
        claim_no=1,
        attempt=1,
        definition=new.definition,
    )


def preview(config: ProcessorConfig, item: Item, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """The request, command or call. It may hold secrets: mask it. Raises UsageError where it can't be rendered."""
    names = scope(item, secrets=secrets, steps={}, now=time.time_ns() // 1_000_000)
    shown: dict[str, Any] = {"key": item.key}
    match config.spec:
        case CommandSpec() as spec:
            shown["command"] = _words(spec, item, names, config.name)
            if spec.stdout_to:
                shown["stdout_to"] = Template(spec.stdout_to, where=f"processors.{config.name}.stdout_to").render(names)
        case HttpSpec() as spec:
            shown["request"] = _request(config, spec, item, names)
        case PythonSpec() as spec:
            shown["call"] = f"{spec.module}:{spec.function}"
            shown["payload"] = item.payload
        case StepsSpec() as spec:  # what the others do depends on what this one finds
            return preview(spec.steps[0].config, item, secrets) | {"steps": [step.name for step in spec.steps]}
        case _:
            shown["payload"] = item.payload
    return shown


def lines(shown: Mapping[str, Any]) -> list[str]:
    """A preview for people."""
    if "steps" in shown:
        first, *others = shown["steps"]
        one = {name: value for name, value in shown.items() if name != "steps"}
        return [f"step {first}:", *lines(one), *(f"then step {other}" for other in others)]
    if "command" in shown:
        target = f" > {shlex.quote(shown['stdout_to'])}" if "stdout_to" in shown else ""
        return [f"$ {shlex.join(shown['command'])}{target}"]
    if "request" in shown:
        request = shown["request"]
        head = [f"{request['method']} {request['url']}", *(f"{n}: {v}" for n, v in request["headers"].items())]
        return [*head, "", *request["body"].splitlines()] if request["body"] else head
    what = shown.get("call", shown["key"])
    return [f"{what}({json.dumps(shown['payload'], ensure_ascii=False)})"]


def _words(spec: CommandSpec, item: Item, names: Mapping[str, Any], where: str) -> list[str]:
    if spec.style == "parallel":
        return placeholders.expand(spec.argv, item)
    words = Template(list(spec.argv), where=f"processors.{where}.command").render(names)
    return [to_text(word) for word in words]


def _request(config: ProcessorConfig, spec: HttpSpec, item: Item, names: Mapping[str, Any]) -> dict[str, Any]:
    from batchctl.errors import InvalidInput
    from batchctl.processors.http_request import RequestBuilder, RequestProblem

    try:
        request = RequestBuilder(config, spec).build(item, names)
    except RequestProblem as error:
        raise InvalidInput(f"{item.key}: {error}") from None
    body = request.body.decode("utf-8", "replace") if request.body is not None else ""
    if request.upload is not None:
        fields = "".join(f"{name}={value}\n" for name, value in request.fields or ())
        body = f"{fields}<{request.upload}, {request.media_type}>"
    shown = body if len(body) <= _LONGEST else f"{body[:_LONGEST]}… ({len(body):,} characters)"
    return {"method": request.method, "url": str(request.url), "headers": dict(request.headers), "body": shown}
