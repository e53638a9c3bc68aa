"""The config as the program uses it: frozen and complete. Durations are seconds, sizes bytes.

Templates and expressions stay the strings (or lists and mappings of them) that they are in the file; who runs
them gives them to `batchctl.template.Template` and `batchctl.template.expression` as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from batchctl.masking import Masker
from batchctl.retry import Backoff

Kind = Literal["command", "http", "python", "steps", "gemini", "openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` starts in so many seconds, evenly spread; of batches: so many in any such time."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Accept:
    """What may be enqueued. `types`: lower-case extensions (`pdf`) or media types (`image/*`); empty: all."""

    types: tuple[str, ...] = ()
    max_file_size: int | None = None
    max_items: int | None = None
    batches_per_user: Rate | None = None
    batches_per_organization: Rate | None = None


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """Items with the same value in `field` share a lane: so many at once, in order, at most so fast.

    field       of the payload, `a.b` for one inside another; of a file: path, name, stem, suffix, dir
    on_failure  hold: nothing of the lane starts after a failure until somebody says so
    """

    field: str
    concurrency: int = 1
    rate: Rate | None = None
    on_failure: Literal["continue", "hold"] = "continue"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command and its arguments.

    style       `jinja`: each word is a template; `parallel`: it has GNU parallel's placeholders (inline form)
    env         templates
    cwd         absolute
    stdin       template of what it reads; None: the payload as JSON
    stdout_to   template of a path, relative to `cwd`; None where the output is the result
    max_output  bytes
    """

    argv: tuple[str, ...]
    style: Literal["jinja", "parallel"] = "jinja"
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path()
    stdin: Any = None
    output: Literal["auto", "json", "text"] = "auto"
    stdout_to: str | None = None
    permanent_exit_codes: frozenset[int] = frozenset()
    max_output: int = 10_000_000


@dataclass(frozen=True, slots=True)
class HttpSpec:
    """A request. One of json, form, body, file is set, or form with file, or none; `has_json` tells `json: null` from
    no json.

    url, params, headers, json, form, body, file   templates (url with `url=True`)
    success, result, retry_if, permanent_if        expressions over status, headers, body and the item's scope
    verify                                          True, False, or the absolute path of a CA bundle
    idempotency_header                              None where the request carries none
    max_output                                      bytes of the answer
    """

    url: str
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    has_json: bool = False
    form: Mapping[str, Any] | None = None
    body: Any = None
    file: str | None = None
    success: str | bool | None = None
    result: Any = None
    retry_if: str | bool | None = None
    permanent_if: str | bool | None = None
    verify: bool | str = True
    proxy: str | None = None
    on_unknown: Literal["retry", "fail"] = "retry"
    idempotency_header: str | None = "Idempotency-Key"
    max_output: int = 10_000_000


@dataclass(frozen=True, slots=True)
class PythonSpec:
    """A function that is called as `handle(item, context)`; `max_output` bounds its result as JSON."""

    module: str
    function: str
    max_output: int = 10_000_000


@dataclass(frozen=True, slots=True)
class PlannedSpec:
    """A definition that is valid but that this version does not execute; see `available.py`."""

    definition: Any


@dataclass(frozen=True, slots=True)
class StepConfig:
    """One step of a chain: a processor, and perhaps another one that is tried where the first fails.

    mark, fallback_mark   change when what they do changes (not how long or how often it is tried)
    """

    name: str
    config: ProcessorConfig
    mark: str
    fallback: ProcessorConfig | None = None
    fallback_mark: str = ""


@dataclass(frozen=True, slots=True)
class StepsSpec:
    """Steps, one after the other."""

    steps: tuple[StepConfig, ...]

    @property
    def parts(self) -> tuple[ProcessorConfig, ...]:
        """The steps and their fallbacks."""
        both = ((step.config, step.fallback) for step in self.steps)
        return tuple(one for pair in both for one in pair if one is not None)


Spec = CommandSpec | HttpSpec | PythonSpec | StepsSpec | PlannedSpec


@dataclass(frozen=True, slots=True)
class Into:
    """Where results go as rows: a table (of the store, or of another SQLite file), or a file.

    pk         columns of the primary key; `key` is the item's key where the result has no such field
    add        columns and their templates, for each row
    database   absolute; None: the store
    file       absolute, .jsonl or .csv; None: a table
    """

    table: str | None = None
    pk: tuple[str, ...] = ()
    add: Mapping[str, Any] = field(default_factory=dict)
    indexes: tuple[tuple[str, ...], ...] = ()
    database: Path | None = None
    file: Path | None = None


DELETE: Final = "delete"
FileAct = Path | Literal["delete"]


@dataclass(frozen=True, slots=True)
class After:
    """What becomes of the file of a final item: it moves to a folder (absolute) or is deleted; None: it stays."""

    completed: FileAct | None = None
    failed: FileAct | None = None


@dataclass(frozen=True, slots=True)
class ProcessorConfig:
    """One processor.

    timeout       seconds for one attempt; of steps: all of them together
    max_retries   tries after the first one; of steps: all of them together
    concurrency   across all workers on the store; None: only the worker's own limit
    adaptive      `concurrency: auto`: as many as the receiver bears, across all workers
    rate          starts across all workers on the store
    max_failures  failed items that stop a batch: a number, or (a float) a share; None: it goes on
    folder        absolute; relative paths and imports start here
    problems      what keeps it from running (its items wait); each begins with file:line:column
    fingerprint   changes when its definition or a secret in it changes; tells nothing of the secret
    """

    name: str
    kind: Kind
    spec: Spec
    folder: Path
    timeout: float = 1800.0
    max_retries: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    max_outage: float = 86400.0
    concurrency: int | None = None
    adaptive: bool = False
    max_failures: int | float | None = None
    accept: Accept = Accept()
    lane: LaneConfig | None = None
    rate: Rate | None = None
    into: Into | None = None
    after: After | None = None
    problems: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def parts(self) -> tuple[ProcessorConfig, ...]:
        """What does the work: the processor itself, or its steps and their fallbacks."""
        return self.spec.parts if isinstance(self.spec, StepsSpec) else (self,)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Seconds and bytes. `concurrency` is what BATCHCTL_CONCURRENCY says where it is set.

    roots   absolute folders whose files this host has; none: every file that is there
    """

    concurrency: int = 3
    lease: float = 60.0
    grace: float = 30.0
    max_crashes: int = 3
    min_free: int = 500_000_000
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ping:
    """A dead-man monitor. `exit_status`: the end is told as `URL/CODE` instead of `URL` and `URL/fail`."""

    url: str
    start: bool = True
    exit_status: bool = False
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class AlertRules:
    """When an alert is raised. Seconds, counts, shares (0.2 is 20 %); None: never.

    failure_window   the time over which failures are counted
    outage           a receiver that is down for longer
    no_worker        work that waits for a processor which nobody serves
    stuck            a batch that has begun and where no item has ended since, beside the longest timeout of its items
    """

    queue_depth: int | None = None
    oldest_pending: float | None = None
    failure_rate: float | None = None
    failure_window: float = 3600.0
    outage: float | None = None
    no_worker: float | None = 900.0
    stuck: float | None = 3600.0


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """What `check` does. `retention`: seconds after the end of batches by their state; None or absent: never."""

    time_budget: float = 240.0
    ping: Ping | None = None
    retention: Mapping[str, float | None] = field(default_factory=dict)
    alerts: AlertRules = AlertRules()


@dataclass(frozen=True, slots=True)
class Notification:
    """Who is told what.

    to              template of an Apprise URL or of `resend://…`; holds credentials
    id              how the store names it: the entry's `name`, or its scheme and a hash of what stands in the config
    processors, organizations   whose batches; empty: everybody's
    missing         the `${…}` in it that have no value here: it cannot be sent to from here
    """

    to: str = field(repr=False)
    id: str
    events: frozenset[str]
    processors: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()

    def wants(self, event: str, processor: str | None, organization: str | None) -> bool:
        """Whether it is told of this. What concerns no processor or organization is for those who name none."""
        return (
            event in self.events
            and (not self.processors or processor in self.processors)
            and (not self.organizations or organization in self.organizations)
        )


@dataclass(frozen=True, slots=True)
class Config:
    """A whole config.

    path        the file, absolute; None where there is none and the defaults hold
    folder      where relative paths start: the file's folder, else the current one
    store       an absolute path or a URL; `store_from` says whether config file or default named it
    fixed       store, env_file and check take nothing from the environment: the same file always says the same
    secrets     for templates; never to be printed or stored
    warnings    what is odd but stops nothing; each with its place
    effective   what `config show` prints: as the user wrote it, defaults merged in, secrets masked
    absent      environment variables that it wants and that are not there
    env_files   the files of `env_file`, absolute
    organizations   what each may enqueue, beside what the processors accept; `*`: those that are not named
    """

    folder: Path
    store: str
    path: Path | None = None
    store_from: Literal["config", "default"] = "default"
    organization: str | None = None
    user: str | None = None
    worker: WorkerConfig = WorkerConfig()
    check: CheckConfig = CheckConfig()
    notifications: tuple[Notification, ...] = ()
    processors: Mapping[str, ProcessorConfig] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)
    masker: Masker = field(default_factory=Masker)
    fixed: bool = True
    warnings: tuple[str, ...] = ()
    effective: Mapping[str, Any] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    env_files: tuple[Path, ...] = ()
    organizations: Mapping[str, Accept] = field(default_factory=dict)
