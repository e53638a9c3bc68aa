"""Checked data to frozen structs: defaults are filled in, paths become absolute."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from batchctl.config import outlets, secrets
from batchctl.config.schema import BODIES, KINDS
from batchctl.config.shapes import is_missing
from batchctl.config.structs import (
    Accept,
    AlertRules,
    CheckConfig,
    CommandSpec,
    HttpSpec,
    Kind,
    LaneConfig,
    Ping,
    PlannedSpec,
    ProcessorConfig,
    PythonSpec,
    Rate,
    Spec,
    StepConfig,
    StepsSpec,
    WorkerConfig,
)
from batchctl.retry import Backoff

HTTP_TIMEOUT = 60.0
_TUNING = ("timeout", "max_retries", "backoff")  # says nothing of what is done


def worker(data: Mapping[str, Any], folder: Path) -> WorkerConfig:
    roots = tuple(os.path.normpath(absolute(root, folder)) for root in data.get("roots", ()))
    return WorkerConfig(**{**data, "roots": roots})


def check(data: Mapping[str, Any]) -> CheckConfig:
    given: dict[str, Any] = {"time_budget": data["time_budget"]} if "time_budget" in data else {}
    rules: dict[str, Any] = {
        name: None if value == "never" else value for name, value in data.get("alerts", {}).items()
    }
    keep = {state: None if age == "never" else age for state, age in data.get("retention", {}).items()}
    return CheckConfig(ping=_ping(data.get("ping")), retention=keep, alerts=AlertRules(**rules), **given)


def _ping(data: Any) -> Ping | None:
    """None where there is none, or where a `${…}` in its address is missing: that has been told."""
    given = {"url": data} if isinstance(data, str) else data
    return None if not given or is_missing(given["url"]) else Ping(**given)


def store(named: str, folder: Path) -> str:
    """A URL as it is, a path absolute."""
    return named if "://" in named else absolute(named, folder)


def absolute(path: str, folder: Path) -> str:
    return str(folder / Path(str(path)).expanduser())


def processor(
    name: str,
    data: Mapping[str, Any],
    defaults: Mapping[str, Any],
    folder: Path,
    *,
    problems: tuple[str, ...] = (),
    fingerprint: str = "",
) -> ProcessorConfig:
    """One processor from its data, with what `defaults:` and the program say where it is silent."""
    kind = _kind(data)
    plain = {key: data[key] for key in ("max_retries", "max_outage", "max_failures", "concurrency") if key in data}
    if plain.get("concurrency") == "auto":
        plain |= {"concurrency": None, "adaptive": True}
    if "max_retries" in defaults:
        plain.setdefault("max_retries", defaults["max_retries"])
    spec: Spec
    if kind == "steps":
        spec = _steps(name, data, _for_steps(data, defaults), folder)
        plain["max_retries"] = sum(one.max_retries for one in spec.parts)
        timeout = sum(one.timeout for one in spec.parts)
    else:
        spec, timeout = _spec(kind, data, folder), _timeout(kind, data, defaults)
    return ProcessorConfig(
        name=name,
        kind=kind,
        spec=spec,
        folder=folder,
        timeout=timeout,
        backoff=Backoff(**(defaults.get("backoff", {}) | data.get("backoff", {}))),
        accept=_accept(data.get("accept", {})),
        lane=_lane(data.get("lane")),
        into=outlets.into(data.get("into"), folder),
        after=outlets.after(data.get("after"), folder),
        rate=_rate(data.get("rate")),
        problems=problems,
        fingerprint=fingerprint,
        **plain,
    )


def _kind(data: Mapping[str, Any]) -> Kind:
    return cast(Kind, next(kind for kind in KINDS if kind in data))


def _for_steps(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What stands at the chain holds for its steps where they are silent."""
    own = {key: data[key] for key in ("timeout", "max_retries", "max_output") if key in data}
    return {**defaults, **own, "backoff": defaults.get("backoff", {}) | data.get("backoff", {})}


def _steps(name: str, data: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path) -> StepsSpec:
    limit = {"max_output": defaults["max_output"]} if "max_output" in defaults else {}
    steps = []
    for step in data["steps"]:
        whole = f"{name}.{step['name']}"
        other = step.get("fallback")
        steps.append(
            StepConfig(
                str(step["name"]),
                processor(whole, limit | step, defaults, folder),
                _mark(step),
                other and processor(f"{whole}.fallback", limit | other, defaults, folder),
                _mark(other) if other else "",
            )
        )
    return StepsSpec(tuple(steps))


def _mark(definition: Mapping[str, Any]) -> str:
    """Changes when what a step does changes, in the words of the config."""
    kept = {key: value for key, value in definition.items() if key not in (*_TUNING, "name", "fallback")}
    if isinstance(kept.get("http"), Mapping):
        kept["http"] = {key: value for key, value in kept["http"].items() if key not in _TUNING}
    return secrets.mark(kept)


def _timeout(kind: Kind, data: Mapping[str, Any], defaults: Mapping[str, Any]) -> float:
    """A request gets 60 s, or less where the default for all is less."""
    if "timeout" in data:
        return float(data["timeout"])
    common = float(defaults.get("timeout", ProcessorConfig.__dataclass_fields__["timeout"].default))
    if kind != "http":
        return common
    return float(data["http"].get("timeout", min(HTTP_TIMEOUT, common)))


def _accept(data: Mapping[str, Any]) -> Accept:
    types = tuple(kind.lower().removeprefix(".") for kind in data.get("types", ()))
    return Accept(
        types,
        data.get("max_file_size"),
        data.get("max_items"),
        _rate(data.get("batches_per_user")),
        _rate(data.get("batches_per_organization")),
    )


def organizations(data: Mapping[str, Any]) -> dict[str, Accept]:
    return {name: _accept(given.get("accept", {})) for name, given in data.items()}


def _lane(data: Mapping[str, Any] | None) -> LaneConfig | None:
    if not data or is_missing(data.get("field")):
        return None
    given = {key: data[key] for key in ("concurrency", "on_failure") if key in data}
    return LaneConfig(str(data["field"]), rate=_rate(data.get("rate")), **given)


def _rate(data: tuple[int, float] | None) -> Rate | None:
    return None if data is None else Rate(*data)


def _spec(kind: Kind, data: Mapping[str, Any], folder: Path) -> Spec:
    limit: dict[str, Any] = {"max_output": data["max_output"]} if "max_output" in data else {}
    match kind:
        case "command":
            return _command(data, folder, limit)
        case "http":
            return _http(data["http"], folder, limit)
        case "python":
            module, _, function = str(data["python"]).partition(":")
            return PythonSpec(module, function, **limit)
        case _:
            return PlannedSpec(data[kind])


def _command(data: Mapping[str, Any], folder: Path, limit: dict[str, Any]) -> CommandSpec:
    given = {key: data[key] for key in ("env", "stdin", "output", "stdout_to") if key in data}
    return CommandSpec(
        argv=tuple(data["command"]),
        cwd=Path(absolute(data.get("cwd", "."), folder)),
        permanent_exit_codes=frozenset(data.get("permanent_exit_codes", ())),
        **given,
        **limit,
    )


def _http(data: Mapping[str, Any], folder: Path, limit: dict[str, Any]) -> HttpSpec:
    same = ("params", "headers", "json", "form", "body", "file", "success", "result", "retry_if", "permanent_if")
    given = {key: data[key] for key in (*same, "proxy", "on_unknown") if key in data}
    method = data.get("method", "POST" if any(body in data for body in BODIES) else "GET")
    verify = data.get("verify", True)
    return HttpSpec(
        url=data["url"],
        method=str(method).upper(),
        has_json="json" in data,
        verify=verify if isinstance(verify, bool) else absolute(verify, folder),
        idempotency_header=_header(data.get("idempotency_header", True)),
        **given,
        **limit,
    )


def _header(value: bool | str) -> str | None:
    if isinstance(value, bool):
        return "Idempotency-Key" if value else None
    return value
