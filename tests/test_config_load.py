"""What a config file says, and what is said about a wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchctl.config import (
    AlertRules,
    CheckConfig,
    CommandSpec,
    Config,
    HttpSpec,
    Ping,
    PythonSpec,
    examine,
    inline,
    load,
)
from batchctl.config.available import PROCESSOR_KEYS
from batchctl.errors import ConfigError

ROOT = Path(__file__).parent.parent
Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes a config and loads it, with nothing in the environment but what is given."""

    def read(text: str, **environ: str) -> Config:
        path = tmp_path / "batchctl.yaml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return load(path, {"HOME": str(tmp_path), **environ}, tmp_path)

    return read


@pytest.fixture
def refused(read: Read) -> Callable[[str], list[str]]:
    """The reasons why a config is refused."""

    def refused(text: str, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, **environ)
        assert caught.value.code == 2
        return caught.value.details

    return refused


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path)}
    config = load(None, environ, tmp_path)
    assert (config.path, config.folder, config.processors) == (None, tmp_path, {})
    assert config.store == str(tmp_path / "state/batchctl/queue.db")
    worker = config.worker
    assert (worker.concurrency, worker.lease, worker.grace, worker.max_crashes) == (3, 60, 30, 3)
    assert worker.min_free == 500_000_000


def test_an_empty_file_means_the_defaults(read: Read) -> None:
    assert read("").processors == {}
    assert read("# only a comment\nprocessors:\n").processors == {}


def test_the_defaults_of_a_command(read: Read, tmp_path: Path) -> None:
    processor = read("processors: {p: {command: [echo, '{{ path }}', 5, 0.10, true]}}").processors["p"]
    assert processor.kind == "command"
    assert (processor.timeout, processor.max_retries, processor.concurrency) == (1800, 3, None)
    backoff = processor.backoff
    assert (backoff.base, backoff.factor, backoff.max, backoff.jitter) == (30, 4, 900, 0.1)
    spec = processor.spec
    assert isinstance(spec, CommandSpec)
    assert spec.argv == ("echo", "{{ path }}", "5", "0.10", "true")
    assert (spec.cwd, spec.output, spec.style, spec.max_output) == (tmp_path, "auto", "jinja", 10_000_000)
    assert processor.problems == ()


def test_every_key_of_a_command(read: Read, tmp_path: Path) -> None:
    processor = read(
        """
        defaults: {timeout: 2m, max_retries: 7, backoff: {base: 1s, jitter: 0}}
        processors:
          p:
            command: ["./run"]
            env: {A: "{{ id }}", B: 5}
            cwd: sub
            output: json
            stdout_to: "out/{{ key }}"
            permanent_exit_codes: [3, 4]
            max_output: 1MB
            backoff: {factor: 2}
            concurrency: 2
            max_outage: 1h
            accept: {types: [.PDF, image/*], max_file_size: 5MB, max_items: 9}
        """
    ).processors["p"]
    spec = processor.spec
    assert isinstance(spec, CommandSpec)
    assert (dict(spec.env), spec.cwd, spec.output) == ({"A": "{{ id }}", "B": "5"}, tmp_path / "sub", "json")
    assert (spec.stdout_to, spec.permanent_exit_codes, spec.max_output) == ("out/{{ key }}", {3, 4}, 1_000_000)
    assert (processor.timeout, processor.max_retries, processor.concurrency) == (120, 7, 2)
    assert (processor.backoff.base, processor.backoff.factor, processor.backoff.jitter) == (1, 2, 0)
    assert processor.max_outage == 3600
    assert processor.accept.types == ("pdf", "image/*")
    assert (processor.accept.max_file_size, processor.accept.max_items) == (5_000_000, 9)


def test_http(read: Read, tmp_path: Path) -> None:
    config = read(
        """
        processors:
          get: {http: {url: "https://x/{{ id }}"}}
          post: {http: {url: "https://x/", json: null, timeout: 5s, verify: ca.pem, idempotency_header: false}}
          put: {http: {url: "https://x/", method: put, success: status == 200, on_unknown: fail}, timeout: 7s}
        """
    )
    get, post, put = (config.processors[name] for name in ("get", "post", "put"))
    assert (get.timeout, post.timeout, put.timeout) == (60, 5, 7)
    for processor in (get, post, put):
        assert isinstance(processor.spec, HttpSpec)
    assert (get.spec.method, get.spec.has_json, get.spec.verify) == ("GET", False, True)
    assert get.spec.idempotency_header == "Idempotency-Key"
    assert (post.spec.method, post.spec.has_json, post.spec.json) == ("POST", True, None)
    assert (post.spec.verify, post.spec.idempotency_header) == (str(tmp_path / "ca.pem"), None)
    assert (put.spec.method, put.spec.success, put.spec.on_unknown) == ("PUT", "status == 200", "fail")


@pytest.mark.parametrize(("common", "timeout"), [("10s", 10), ("30m", 60)])
def test_a_request_takes_the_common_timeout_only_where_it_is_shorter(read: Read, common: str, timeout: float) -> None:
    config = read(f"defaults: {{timeout: {common}}}\nprocessors: {{p: {{http: {{url: 'https://x/'}}}}}}")
    assert config.processors["p"].timeout == timeout


def test_python(read: Read) -> None:
    processor = read("processors: {p: {python: 'my.handlers:Class.method'}}").processors["p"]
    assert processor.spec == PythonSpec("my.handlers", "Class.method")


def test_relative_paths_start_at_the_file(read: Read, tmp_path: Path) -> None:
    assert read("store: data/q.db").store == str(tmp_path / "data/q.db")
    assert read("store: postgresql://user@host/db").store == "postgresql://user@host/db"
    assert read("store: /abs/q.db").store == "/abs/q.db"


def test_yaml_is_read_as_version_1_2(read: Read) -> None:
    config = read(
        """
        processors:
          p:
            http:
              url: https://x/
              json: {on: no, country: NO, zip: 00123, time: 12:30, day: 2026-03-01, n: 10, f: 1.5, t: true, z: ~}
        """
    )
    assert config.processors["p"].spec.json == {
        "on": "no", "country": "NO", "zip": "00123", "time": "12:30", "day": "2026-03-01", "n": 10, "f": 1.5,
        "t": True, "z": None,
    }  # fmt: skip


def test_anchors_and_merge_keys(read: Read) -> None:
    config = read(
        """
        processors:
          a: &a {command: [echo], timeout: 5s, max_retries: 1}
          b: {<<: *a, timeout: 6s}
        """
    )
    assert (config.processors["b"].timeout, config.processors["b"].max_retries) == (6, 1)


def test_every_problem_at_once_each_with_its_place(refused: Callable[[str], list[str]]) -> None:
    reasons = refused(
        "stroe: queue.db\n"
        "worker: {concurrency: 0, lease: fast}\n"
        "processors:\n"
        "  a: {command: echo hello}\n"
        "  b:\n"
        "    http: {url: 'https://x/', json: {}, form: {}}\n"
        "    timeuot: 5s\n"
        "  c: {}\n"
        "  d: {python: nothing, http: {metod: GET}}\n"
        "  e: {http: {url: 'https://x/', timeout: 5s, on_unknown: repeat}, timeout: 6s, cwd: x}\n"
    )
    assert reasons == [
        "batchctl.yaml:1:1: unknown key `stroe` in the config; did you mean `store`?",
        "batchctl.yaml:2:23: worker.concurrency: `0` is out of range; it takes a whole number from 1 to 4096",
        "batchctl.yaml:2:33: worker.lease: `fast` is not a duration: write 30s, 15m or 1h30m",
        "batchctl.yaml:4:16: processors.a.command: text stands here; it takes a list of words, such as "
        '[python3, analyze.py, "{{ path }}"]; it never passes a shell',
        "batchctl.yaml:6:41: processors.b.http takes only one of `json` and `form`",
        "batchctl.yaml:7:5: unknown key `timeuot` in processors.b; did you mean `timeout`?",
        "batchctl.yaml:8:3: processors.c does nothing: it takes one of `command`, `http`, `python`, `steps`, "
        "`gemini`, `openai` and `anthropic`",
        "batchctl.yaml:9:7: processors.d takes only one of `http` and `python`",
        "batchctl.yaml:9:15: processors.d.python: `nothing` does not fit; it takes module:function",
        "batchctl.yaml:9:30: `url` is missing in processors.d.http",
        "batchctl.yaml:9:31: unknown key `metod` in processors.d.http; did you mean `method`?",
        "batchctl.yaml:10:58: processors.e.http.on_unknown: `repeat` is none of `retry` and `fail`",
        "batchctl.yaml:10:67: `timeout` stands in processors.e and in its `http`",
        "batchctl.yaml:10:80: `cwd` in processors.e goes with `command` only",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1, 2", "batchctl.yaml:2:1: this is not YAML: did not find expected ',' or ']'"),
        ("a: 1\na: 2", "batchctl.yaml:2:1: the key `a` stands here a second time, first in line 1"),
        ("- a\n- b", "batchctl.yaml:1:1: a config is a mapping of keys such as `processors:`"),
        ("just text", "batchctl.yaml:1:1: a config is a mapping of keys such as `processors:`"),
        ("a: !!python/object:os.system x", "batchctl.yaml:1:4: the tag `tag:yaml.org,2002:python/object:os.system` is"),
        ("a: &a [*a]", "batchctl.yaml:1:4: this alias makes the document endless or huge"),
        ("a: 1\n---\nb: 2", "batchctl.yaml:2:1: this is not YAML"),
        ("? [a]\n: b", "batchctl.yaml:1:3: a key must be a word"),
        ("[" * 3000 + "]" * 3000, "batchctl.yaml:1:102: nested deeper than 100 levels"),
        ("store: ''", "batchctl.yaml:1:8: store: it is empty"),
        ("processors: {a b: {command: [x]}}", "batchctl.yaml:1:14: `a b` cannot be a name in processors"),
        ("processors: {p: {command: []}}", "batchctl.yaml:1:27: processors.p.command: it is empty"),
        ("store: '${X'", "batchctl.yaml:1:8: store: `${` is not closed"),
        ("store: '${X%%y}'", "batchctl.yaml:1:8: store: `${X%%y}` is none of ${NAME}"),
        ("check: {retention: {completed: 90}}", "batchctl.yaml:1:32: check.retention.completed: a number stands here"),
        ("check: {retention: {completed: '90'}}", "batchctl.yaml:1:32: check.retention.completed: `90` has no unit"),
        ("store: '${X}/q.db'", "batchctl.yaml:1:8: the environment variable X is not set"),
    ],
)
def test_what_is_no_config(refused: Callable[[str], list[str]], text: str, reason: str) -> None:
    assert any(found.startswith(reason) for found in refused(text)), refused(text)


def test_aliases_of_aliases_do_not_fill_the_memory(refused: Callable[[str], list[str]]) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert any("endless or huge" in reason for reason in refused("\n".join(lines)))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"store: a\nuser: \xff\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, tmp_path)
    assert caught.value.details == ["c.yaml:2:1: this is not UTF-8 text"]


def test_a_broken_template_is_found_by_the_deep_check_only(read: Read, tmp_path: Path) -> None:
    read(
        "processors:\n"
        "  a: {command: [echo, '{{ id']}\n"
        "  b: {http: {url: 'https://x/{{ a b }}', success: 'status in (', result: {x: '{{ body }'}}}\n"
    )
    config, problems = examine(tmp_path / "batchctl.yaml", {}, tmp_path)
    assert config is None
    places = [str(problem).split(": ")[0] for problem in problems]
    assert places == ["batchctl.yaml:2:23", "batchctl.yaml:3:19", "batchctl.yaml:3:51", "batchctl.yaml:3:78"]
    assert "processors.b.http.success: this template is wrong" in str(problems[2])


def test_loading_imports_neither_jinja_nor_httpx(tmp_path: Path) -> None:
    (tmp_path / "batchctl.yaml").write_text("processors: {p: {command: [echo, '{{ id|upper }}']}}")
    (tmp_path / "batchctl.yaml").chmod(0o600)
    code = (
        "import sys; from pathlib import Path; from batchctl.config import load\n"
        "assert load(None, {}, Path.cwd()).processors\n"
        "heavy = {'jinja2', 'httpx', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environ)


RESERVED: Mapping[tuple[str, ...], str] = {
    ("into",): "{command: [x], into: {table: t, pk: [a, b], add: {c: '{{ now }}'}, indexes: [a], database: o.db}}",
    ("after",): "{command: [x], after: {completed: 'move:done/', failed: delete}}",
    ("max_failures",): "{command: [x], max_failures: 10%}",
    ("gemini",): "{gemini: {model: m, api_key: k, prompt: p, attach: '{{ path }}', schema: s.json, mode: live}}",
    ("openai",): "{openai: {model: m, base_url: 'https://x', system: s, max_tokens: 5, request: {a: 1}}}",
    ("anthropic",): "{anthropic: {model: m}}",
    ("poll",): "{command: [x], poll: 30s}",
    ("max_wait",): "{command: [x], max_wait: 24h}",
    ("budget",): "{command: [x], budget: {amount: 20.5, per: day, currency: USD}}",
    ("submit",): "{command: [x], submit: {min_items: 5, max_delay: 1h}}",
}


@pytest.mark.parametrize("keys", PROCESSOR_KEYS, ids=".".join)
def test_what_is_not_available_yet_stops_its_processor_and_no_other(read: Read, keys: tuple[str, ...]) -> None:
    config = read(f"processors:\n  p: {RESERVED[keys]}\n  other: {{command: [x]}}\n")
    (problem,) = config.processors["p"].problems
    assert problem.startswith("batchctl.yaml:2:")
    assert problem.endswith(f"p: `{'.'.join(keys)}` is not available in this version")
    assert config.processors["other"].problems == ()


def test_a_step_of_a_kind_that_is_not_available_stops_the_chain(read: Read) -> None:
    steps = "{name: a, gemini: {model: m}}, {name: b, command: [x], fallback: {openai: {model: m}}}"
    problems = read(f"processors: {{p: {{steps: [{steps}]}}}}").processors["p"].problems
    assert [problem.partition("p: ")[2] for problem in problems] == [
        "`steps[0].gemini` is not available in this version",
        "`steps[1].fallback.openai` is not available in this version",
    ]


def test_steps_have_names_that_differ_and_look_at_earlier_ones(read: Read) -> None:
    wrong = """processors:
  p:
    steps:
      - {name: a, http: {url: "http://x/{{ steps.b }}", timeout: 1s}, timeout: 2s}
      - {name: a, command: [x, "{{ steps['a'].text }}"], fallback: {python: "m:f", cwd: x}}
      - {name: c, command: [x, "{{ steps.a }} {{ steps.c }} {{ item.payload.steps.d }}"]}
"""
    with pytest.raises(ConfigError) as refused:
        read(wrong)
    assert refused.value.details == [
        "batchctl.yaml:4:31: processors.p.steps[0].http.url: there is no step `b` before this; none comes before",
        "batchctl.yaml:4:71: `timeout` stands in processors.p.steps[0] and in its `http`",
        "batchctl.yaml:5:16: two steps of processors.p are called `a`",
        "batchctl.yaml:5:84: `cwd` in processors.p.steps[1].fallback goes with `command` only",
        "batchctl.yaml:6:32: processors.p.steps[2].command[1]: there is no step `c` before this; those before are `a`",
    ]


def test_what_check_does(read: Read) -> None:
    assert read("").check == CheckConfig()
    assert read("check: {ping: 'https://hc.example.com/u'}").check.ping == Ping("https://hc.example.com/u")
    assert read("check: {ping: '${HC}'}", HC="https://hc.example.com/u").check.ping == Ping("https://hc.example.com/u")
    assert read("check: {ping: '${HC}'}").check.ping is None
    rest = """
check:
  time_budget: 1m
  ping: {url: "http://hc.example.com/u", start: false, exit_status: true, timeout: 2s}
  retention: {completed: 90d, failed: never}
  alerts: {queue_depth: 5, failure_rate: 20%, no_worker: never}
"""
    assert read(rest).check == CheckConfig(
        time_budget=60,
        ping=Ping("http://hc.example.com/u", start=False, exit_status=True, timeout=2),
        retention={"completed": 90 * 86400, "failed": None},
        alerts=AlertRules(queue_depth=5, failure_rate=0.2, no_worker=None),
    )


def test_concurrency_from_the_environment(read: Read) -> None:
    assert read("worker: {concurrency: 5}", BATCHCTL_CONCURRENCY="7").worker.concurrency == 7
    with pytest.raises(ConfigError, match="BATCHCTL_CONCURRENCY"):
        read("", BATCHCTL_CONCURRENCY="many")


def test_the_inline_form() -> None:
    definition = {"command": ["convert", "{}", "{.}.png"], "folder": "/work", "timeout": None, "retries": 0}
    processor = inline(json.dumps(definition | {"stdout_to": None}))
    assert processor.spec == CommandSpec(("convert", "{}", "{.}.png"), style="parallel", cwd=Path("/work"))
    assert (processor.timeout, processor.max_retries, processor.folder) == (1800, 0, Path("/work"))
    other = inline(json.dumps(definition | {"timeout": 2.5, "retries": None, "stdout_to": "{{ key }}"}))
    assert (other.timeout, other.max_retries, other.spec.stdout_to) == (2.5, 3, "{{ key }}")
    assert other.fingerprint != processor.fingerprint


def test_the_example_holds(tmp_path: Path) -> None:
    """config.example.yaml has no mistake; what it shows and cannot be done yet is marked there as reserved."""
    path = tmp_path / "batchctl.yaml"
    path.write_bytes((ROOT / "config.example.yaml").read_bytes())
    path.chmod(0o600)
    (tmp_path / "workiz-keys.json").write_text('{"17": "key-of-17"}')
    environ = {"ERP_TOKEN": "token", "GEMINI_API_KEY": "key-key", "SMTP_PASSWORD": "pass/word"}
    config, problems = examine(path, environ, tmp_path)
    assert config is not None, problems
    told = [p for p in problems if "not available in this version" not in p.text and "env_file" not in p.text]
    assert told == []
    kinds = {processor.kind for processor in config.processors.values()}
    assert kinds == {"command", "http", "python", "steps", "gemini"}
    lease = config.processors["lease"]
    assert [part.kind for part in lease.parts] == ["http", "command", "python", "command"]
    assert config.secrets["workiz"][17] == "key-of-17"


words = st.text("abc:{}[]$&*!|>'\"%@#- \n\t,0\\", max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.one_of(words, words.map(lambda w: f"processors: {{p: {{command: [{json.dumps(w)}], timeout: {w}}}}}")))
def test_any_text_is_a_config_or_is_refused_with_reasons(read: Read, text: str) -> None:
    details: list[Any] = ["no error"]
    try:
        read(text)
    except ConfigError as error:
        details = error.details
    assert details
