"""Every key that a config file may hold. Read by `load`, printed by `config schema`."""

from __future__ import annotations

from typing import Any

from batchctl import duration
from batchctl.config.chain import check_steps
from batchctl.config.outlets import check_into
from batchctl.config.problems import Path, dotted, listed
from batchctl.config.report import Report
from batchctl.config.shapes import (
    Anything,
    Choice,
    Flag,
    Key,
    ListOf,
    MapOf,
    Measured,
    Number,
    Object,
    OneOf,
    Shape,
    Words,
    bytes_,
    seconds,
)

KINDS = ("command", "http", "python", "steps", "gemini", "openai", "anthropic")
BODIES = ("json", "form", "body", "file")
STATES = ("completed", "completed_with_errors", "failed", "cancelled")
COLUMN = r"[A-Za-z_][A-Za-z0-9_]*"
MODULE = rf"{COLUMN}(\.{COLUMN})*:{COLUMN}(\.{COLUMN})*"
PROCESSOR_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # no colon: `inline:…` are those of the command line

TEMPLATE = Words(wanted="text, which may be a template", empty=True, mode="template")
ARGUMENT = Words(wanted="text, which may be a template", empty=True, mode="argument")
FILE = Words(wanted="a path, which may be a template", mode="template")
EXPRESSION = OneOf(
    ((bool, Flag()), ((str, int, float), Words(wanted="an expression", mode="expression"))),
    'an expression such as "status == 200"',
)
PERCENT = Measured(duration.percent, "a percentage such as 10%", numbers=False)
COUNT_OR_PERCENT = OneOf(((int, Number(least=1)), (str, PERCENT)), "a number or a percentage such as 10%")
RATE = Measured(duration.rate, "a rate such as 1/s or 100/15m", numbers=False)
CONCURRENCY = Number(least=1, most=4096)

BACKOFF = Object(
    {
        "base": Key(seconds(), "The pause before the first retry (30s)."),
        "factor": Key(Number(least=1, most=100, whole=False), "Each pause is so many times the one before (4)."),
        "max": Key(seconds(), "No pause is longer (15m)."),
        "jitter": Key(Number(most=1, whole=False), "Share by which a pause is made longer or shorter (0.1)."),
    }
)
RETRYING = {
    "timeout": Key(seconds("a duration such as 90s or 30m", least=0.001), "For one attempt (30m; http: 60s)."),
    "max_retries": Key(Number(most=1000), "Tries after the first one (3)."),
    "backoff": Key(BACKOFF, "Pauses between tries."),
}
ACCEPT = Object(
    {
        "types": Key(
            ListOf(Words(r"\.?[A-Za-z0-9]+|[a-z]+/[\w.+*-]+", "a type such as pdf or image/*"), single=True),
            "File types, by content: extensions or media types.",
        ),
        "max_file_size": Key(bytes_(), "Larger files are refused."),
        "max_items": Key(Number(least=1), "Larger batches are refused."),
        "batches_per_user": Key(RATE, "How many batches one user may enqueue: 3/h is 3 in any hour."),
        "batches_per_organization": Key(RATE, "How many batches the users of one organization may enqueue together."),
    }
)
ORGANIZATION = Object({"accept": Key(ACCEPT, "What it may enqueue, whatever the processor.")})
LANE = Object(
    {
        "field": Key(Words(), "Items with the same value share a lane.", required=True),
        "concurrency": Key(CONCURRENCY, "Items of a lane at once (1)."),
        "rate": Key(RATE, "Starts in a lane, evenly spread."),
        "on_failure": Key(Choice(("continue", "hold")), "hold: a failure stops the lane (continue)."),
    }
)


INTO = Object(
    {
        "table": Key(Words(COLUMN, "the name of a table"), "The table that results are upserted into."),
        "pk": Key(ListOf(Words(), single=True), "Primary key: fields of the result, or `key`."),
        "add": Key(MapOf(Anything()), "Columns to add, as templates."),
        "indexes": Key(ListOf(ListOf(Words(), single=True)), "Columns to index."),
        "database": Key(Words(), "Another SQLite file."),
        "file": Key(Words(r".+\.(jsonl|csv)", "a path that ends in .jsonl or .csv"), "A file to append to."),
    },
    check_into,
)
MOVE = Words(r"delete|move:.+", "`delete` or `move:FOLDER/`")
AFTER = Object(
    {
        "completed": Key(MOVE, "What becomes of the file of a completed item."),
        "failed": Key(MOVE, "What becomes of the file of a failed item."),
    }
)


def _check_http(value: dict[str, Any], path: Path, report: Report) -> None:
    bodies = [name for name in BODIES if name in value]
    if len(bodies) > 1 and bodies != ["form", "file"]:  # a form with a file is multipart/form-data
        report.error((*path, bodies[1]), f"{dotted(path)} takes only one of {listed(bodies)}", key=True)


HTTP = Object(
    {
        "url": Key(Words(wanted="a URL", mode="url"), "Template; values put in are percent-encoded.", required=True),
        "method": Key(Words("[A-Za-z]+", "a method such as POST"), "POST where there is a body, else GET."),
        "params": Key(MapOf(Anything()), "Query parameters, as templates."),
        "headers": Key(MapOf(TEMPLATE), "Headers, as templates."),
        "json": Key(Anything(), "A body of JSON, made of templates.", nullable=True),
        "form": Key(MapOf(Anything()), "A body of form fields, as templates."),
        "body": Key(TEMPLATE, "A body of text, as a template."),
        "file": Key(FILE, "Template of the path of a file that is the body, or a part of the form."),
        "timeout": RETRYING["timeout"],
        "success": Key(EXPRESSION, "When an answer counts as done (any 2xx)."),
        "result": Key(Anything("expression"), "What is kept of the answer (the body)."),
        "retry_if": Key(EXPRESSION, "When an answer is tried again."),
        "permanent_if": Key(EXPRESSION, "When an answer is final."),
        "verify": Key(
            OneOf(((bool, Flag()), (str, Words())), "true, false or a file of certificates"),
            "Check the certificate: true, false, or a CA bundle.",
        ),
        "proxy": Key(Words(), "URL of a proxy."),
        "on_unknown": Key(Choice(("retry", "fail")), "When the answer was lost (retry)."),
        "idempotency_header": Key(
            OneOf(
                ((bool, Flag()), (str, Words(r"[A-Za-z0-9!#$%&'*+.^_|~-]+", "the name of a header"))),
                "the name of a header, or false",
            ),
            "Header of POST, PUT and PATCH (Idempotency-Key); false omits it.",
        ),
    },
    _check_http,
)
PROVIDER = Object(
    {
        "model": Key(Words(), "The provider's model.", required=True),
        "api_key": Key(Words(), "Its key: `${NAME}`."),
        "base_url": Key(Words(), "Another address of the API."),
        "prompt": Key(TEMPLATE, "Template of the request."),
        "system": Key(TEMPLATE, "Template of the system prompt."),
        "attach": Key(ListOf(TEMPLATE, single=True), "Templates of paths of files to send along."),
        "schema": Key(OneOf(((str, Words()), (dict, Anything(None))), "a file or a JSON Schema"), "Of the answer."),
        "max_tokens": Key(Number(least=1), "Most tokens of an answer."),
        "request": Key(MapOf(Anything()), "More fields of the request, as the provider names them."),
        "mode": Key(Choice(("batch", "live")), "batch (default) or live."),
    }
)
BUDGET = Object(
    {
        "amount": Key(Number(whole=False), "How much may be spent.", required=True),
        "per": Key(Choice(("day", "month", "batch")), "In which time."),
        "currency": Key(Words("[A-Z]{3}", "a currency such as USD"), "Its currency."),
    }
)
SUBMIT = Object(
    {
        "min_items": Key(Number(least=1), "Wait for so many items."),
        "max_delay": Key(seconds(), "But no longer than this."),
    }
)
ARGV = ListOf(
    ARGUMENT, least=1, wanted='a list of words, such as [python3, analyze.py, "{{ path }}"]; it never passes a shell'
)
COMMAND_KEYS = {
    "env": Key(MapOf(TEMPLATE, COLUMN), "command: variables, as templates."),
    "cwd": Key(Words(), "command: where it runs (the config's folder)."),
    "stdin": Key(Anything(), "command: template of what it reads on standard input (the payload as JSON)."),
    "output": Key(Choice(("auto", "json", "text")), "command: how to read standard output."),
    "stdout_to": Key(FILE, "command: template of a file for standard output."),
    "permanent_exit_codes": Key(
        ListOf(Number(least=1, most=255), single=True), "command: exit codes that are not tried again, beside 65."
    ),
}
KIND_KEYS = {
    "command": Key(ARGV, "The command, a list of templates."),
    "http": Key(HTTP, "A request."),
    "python": Key(Words(MODULE, "module:function"), "A function, module:function."),
    "gemini": Key(PROVIDER, "A request in Gemini's batch API."),
    "openai": Key(PROVIDER, "A request in OpenAI's batch API."),
    "anthropic": Key(PROVIDER, "A request in Anthropic's batch API."),
}


def _check_kind(value: dict[str, Any], path: Path, report: Report) -> None:
    kinds = [kind for kind in KINDS if value.get(kind) is not None]
    if not kinds:
        report.error(path, f"{dotted(path)} does nothing: it takes one of {listed(KINDS)}", key=True)
    elif len(kinds) > 1:
        report.error((*path, kinds[1]), f"{dotted(path)} takes only one of {listed(kinds)}", key=True)
    for name in COMMAND_KEYS:
        if kinds and "command" not in kinds and value.get(name) is not None:
            report.error((*path, name), f"`{name}` in {dotted(path)} goes with `command` only", key=True)


_STEP = KIND_KEYS | COMMAND_KEYS | RETRYING | {"max_output": Key(bytes_(), "Most output (10MB).")}


def _check_part(value: dict[str, Any], path: Path, report: Report) -> None:
    _check_kind(value, path, report)
    http = value.get("http")
    if isinstance(http, dict) and "timeout" in http and value.get("timeout") is not None:
        report.error((*path, "timeout"), f"`timeout` stands in {dotted(path)} and in its `http`", key=True)


STEP = Object(
    {"name": Key(Words(COLUMN, "a name of letters, digits and _"), "Its result is steps.NAME.", required=True)}
    | _STEP
    | {"fallback": Key(Object(_STEP, _check_part), "Tried when the step fails.")},
    _check_part,
)


def _check_processor(value: dict[str, Any], path: Path, report: Report) -> None:
    _check_part(value, path, report)
    check_steps(value, path, report)


PROCESSOR = Object(
    KIND_KEYS
    | {"steps": Key(ListOf(STEP, least=1), "Steps, one after the other.")}
    | COMMAND_KEYS
    | RETRYING
    | {
        "max_output": Key(bytes_(), "Most output of an attempt (10MB)."),
        "max_outage": Key(seconds(), "How long a receiver may be down before failures count (24h)."),
        "concurrency": Key(
            OneOf(((int, CONCURRENCY), (str, Choice(("auto",)))), "a number or auto"),
            "Items at once, across all workers on the store; auto: as many as the receiver bears.",
        ),
        "accept": Key(ACCEPT, "What may be enqueued."),
        "max_failures": Key(COUNT_OR_PERCENT, "Failed items after which the batch stops."),
        "lane": Key(LANE, "Items that share a value share limits and an order."),
        "rate": Key(RATE, "Starts, across all workers, evenly spread."),
        "into": Key(INTO, "Where results are upserted."),
        "after": Key(AFTER, "What becomes of an item's file."),
        "poll": Key(seconds(least=1), "First pause between polls of a remote batch (30s)."),
        "max_wait": Key(seconds(), "How long a remote batch may take (24h)."),
        "budget": Key(BUDGET, "What may be spent at a provider."),
        "submit": Key(SUBMIT, "When a remote batch is sent."),
    },
    _check_processor,
)
WORKER = Object(
    {
        "concurrency": Key(CONCURRENCY, "Items at once in one worker (3)."),
        "lease": Key(seconds(least=1), "How long a worker's claim holds without a heartbeat (60s)."),
        "grace": Key(seconds(), "What running items get when the worker stops (30s)."),
        "max_crashes": Key(Number(least=1, most=100), "Deaths of a worker that an item may cause alone (3)."),
        "min_free": Key(bytes_(), "No claims while the disk has less (500MB)."),
        "roots": Key(ListOf(Words(), single=True), "Folders whose files this host has (it looks for each file)."),
    }
)
NEVER = seconds("a duration such as 90d, or never", words=("never",))
KEPT = Measured(duration.age, "a duration with its unit such as 90d, or never", words=("never",), numbers=False)
PING_URL = Words(r"https?://.+", "a URL")
PING = Object(
    {
        "url": Key(PING_URL, "The monitor's address; /start and /fail are put behind its path.", required=True),
        "start": Key(Flag(), "Tell when a check begins (true)."),
        "exit_status": Key(Flag(), "Tell the exit code as URL/CODE instead of URL and URL/fail (false)."),
        "timeout": Key(seconds(least=0.1), "How long one may take (5s)."),
    }
)
ALERTS = Object(
    {
        "queue_depth": Key(Number(least=1), "More items in the queue."),
        "oldest_pending": Key(seconds(), "An older item in the queue."),
        "failure_rate": Key(PERCENT, "A larger share of failures among at least 10 items."),
        "failure_window": Key(seconds(least=60), "The time over which failures are counted (1h)."),
        "outage": Key(seconds(), "A receiver that is down for longer."),
        "no_worker": Key(NEVER, "Work waits for a processor that no worker serves (15m)."),
        "stuck": Key(NEVER, "A batch has begun, and no item of it has ended since (1h)."),
    }
)
CHECK = Object(
    {
        "time_budget": Key(seconds(), "How long `check` claims work (4m)."),
        "retention": Key(Object({s: Key(KEPT, f"Of {s} batches.") for s in STATES}), "When batches are deleted."),
        "ping": Key(OneOf(((str, PING_URL), (dict, PING)), "a URL"), "A monitor that is told of each check."),
        "alerts": Key(ALERTS, "When to raise an alert."),
    }
)
ADDRESS = Words(r"[A-Za-z][A-Za-z0-9+.-]*://.+", "a URL such as mailto://…, slack://…, jsons://… or resend://…")
NOTIFICATION = Object(
    {
        "to": Key(ListOf(ADDRESS, single=True, least=1), "Where to: an Apprise URL, as a template.", required=True),
        "events": Key(ListOf(Choice((*STATES, "alert")), single=True), "What is told (everything)."),
        "processors": Key(ListOf(Words(), single=True), "Only of these processors' batches and alerts."),
        "organizations": Key(ListOf(Words(), single=True), "Only of these organizations' batches and alerts."),
        "name": Key(Words(PROCESSOR_NAME, "a name of letters, digits and _ . -"), "How `notify list` calls it."),
    }
)


def _check_notifications(value: dict[str, Any], path: Path, report: Report) -> None:
    entries = value.get("notifications")
    names: set[str] = set()
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in names:
            report.error((*path, "notifications", number, "name"), f"two notifications are called `{name}`")
        names.add(str(name))


SECRETS: Shape = MapOf(Anything(None), COLUMN)
CONFIG = Object(
    {
        "store": Key(Words(), "A SQLite file or a URL."),
        "env_file": Key(ListOf(Words(), single=True), "Files of NAME=value for `${NAME}`."),
        "secrets": Key(SECRETS, "Used as secrets.NAME in templates; masked, never stored."),
        "organization": Key(Words(), "Whose work this is, where neither --org nor BATCHCTL_ORG says so."),
        "user": Key(Words(), "Who submits, where neither --user nor BATCHCTL_USER says so."),
        "worker": Key(WORKER, "What holds for every worker."),
        "defaults": Key(Object(RETRYING), "For every processor that does not say otherwise."),
        "processors": Key(MapOf(PROCESSOR, PROCESSOR_NAME), "What can be done to items, by name."),
        "organizations": Key(MapOf(ORGANIZATION), "Limits for organizations, by name; * for all that are not named."),
        "check": Key(CHECK, "What `check` does beside draining."),
        "notifications": Key(ListOf(NOTIFICATION), "Who is told what."),
    },
    _check_notifications,
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "batchctl.yaml",
        **CONFIG.schema(),
    }
