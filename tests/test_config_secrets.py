"""`${…}`, env_file, secret files: what comes in, whom it stops where it is missing, and that it never comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchctl.config import Config, load
from batchctl.errors import ConfigError
from batchctl.template import Template


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        (self.path / name).write_text(text, encoding="utf-8")
        (self.path / name).chmod(mode)

    def load(self, text: str, **environ: str) -> Config:
        self.write("batchctl.yaml", text)
        return load(self.path / "batchctl.yaml", environ, self.path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def url(config: Config) -> str:
    return str(config.processors["p"].spec.url)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${A}", "a/ b"),
        ("x${A|url}y", "xa%2F%20by"),
        ("${MISSING:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${MISSING:-}x", "x"),
        ("${MISSING:-a/b|url}", "a%2Fb"),
        ("${file:token.txt}", "s3cret"),
        ("$${A} $A ${{ id }}", "${A} $A ${{ id }}"),
        ("${ A }", "a/ b"),
    ],
)
def test_references(folder: Folder, written: str, value: str) -> None:
    folder.write("token.txt", "s3cret\n")
    config = folder.load(f"processors: {{p: {{http: {{url: '{written}'}}}}}}", A="a/ b", EMPTY="")
    assert url(config) == value
    assert config.processors["p"].problems == ()


def test_a_value_is_never_read_as_yaml_or_template(folder: Folder) -> None:
    config = folder.load(
        "processors: {p: {http: {url: 'https://x/', headers: {A: 'Bearer ${T} {{ id }}'}}}}", T="{{ 1 }}: [}"
    )
    header = Template(config.processors["p"].spec.headers["A"], where="A")
    assert header.render({"id": 5}) == "Bearer {{ 1 }}: [} 5"


def test_numbers_may_come_from_outside(folder: Folder) -> None:
    text = "worker: {concurrency: '${N}', lease: '${L}'}\nprocessors: {p: {command: [x], max_retries: '${N}'}}"
    config = folder.load(text, N="9", L="2m")
    assert (config.worker.concurrency, config.worker.lease, config.processors["p"].max_retries) == (9, 120, 9)


def test_a_wrong_value_from_outside_is_not_told(folder: Folder) -> None:
    text = """
        worker: {lease: '${L}', concurrency: '${N}', max_crashes: '${L}'}
        processors:
          p: {python: '${L}', timeout: '${N}ms'}
          q: {http: {url: '${L}', on_unknown: '${L}', verify: '${L}', method: '${N}'}, rate: '${L}'}
        """
    with pytest.raises(ConfigError) as caught:
        folder.load(text, L="hunter2", N="0")
    assert len(caught.value.details) == 8
    assert "hunter2" not in str(caught.value.details)
    assert "what `${…}` gave does not fit" in str(caught.value.details)


def test_the_env_file(folder: Folder) -> None:
    folder.write(".env", "# comment\nexport A='one # two'\nB=\"x\\ny\"\nC=plain # comment\n\nD=\nE=a=b\n")
    text = "env_file: .env\nprocessors: {p: {http: {url: '${A}|${B}|${C}|${D}|${E}|${F}'}}}"
    assert url(folder.load(text, F="f")) == "one # two|x\ny|plain||a=b|f"
    assert url(folder.load(text, F="f", C="wins")) == "one # two|x\ny|wins||a=b|f"


def test_an_env_file_with_mistakes(folder: Folder) -> None:
    folder.write(".env", "A=1\nno assignment\n1B=2\n")
    with pytest.raises(ConfigError) as caught:
        folder.load("env_file: .env")
    assert [detail.split(", ")[1] for detail in caught.value.details] == ["line 2", "line 3"]


def test_an_env_file_that_others_may_write_is_refused(folder: Folder) -> None:
    folder.write(".env", "A=1\n", mode=0o666)
    with pytest.raises(ConfigError) as caught:
        folder.load("env_file: .env")
    assert "others may write it" in caught.value.details[0]


def test_an_env_file_that_is_not_there_is_a_warning(folder: Folder) -> None:
    config = folder.load("env_file: none.env")
    assert config.warnings == (f"batchctl.yaml:1:11: the env_file {folder.path}/none.env does not exist",)


def problems(config: Config) -> dict[str, list[str]]:
    return {name: [p.split(": ", 2)[2] for p in processor.problems] for name, processor in config.processors.items()}


def test_what_is_missing_stops_only_who_needs_it(folder: Folder) -> None:
    config = folder.load(
        """
        secrets: {a: "${A}", keys: "${file:keys.json}", unused: "${U}"}
        processors:
          direct: {http: {url: "https://x/", headers: {K: "${T}"}}}
          file: {http: {url: "https://x/", headers: {K: "${file:none}"}}}
          by-secret: {http: {url: "https://x/{{ secrets.keys[id] }}/{{ secrets['a'] }}"}}
          free: {http: {url: "https://x/{{ id }}"}}
        """
    )
    no_keys = f"the secret file {folder.path}/keys.json cannot be read: No such file or directory"
    assert problems(config) == {
        "direct": ["the environment variable T is not set"],
        "file": [f"the secret file {folder.path}/none cannot be read: No such file or directory"],
        "by-secret": ["the environment variable A is not set", no_keys],
        "free": [],
    }
    assert config.warnings == ("batchctl.yaml:2:65: the environment variable U is not set",)


def test_what_is_missing_in_the_defaults_stops_all(folder: Folder) -> None:
    config = folder.load("defaults: {timeout: '${T}'}\nprocessors: {p: {command: [x]}, q: {command: [x]}}")
    assert problems(config) == {name: ["the environment variable T is not set"] for name in "pq"}


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("--token=${T}", "${T}"),
        ("${T:-none}", "${T:-none}"),
        ("${file:token}", "${file:token}"),
        ("{{ secrets.a }}", "`secrets`"),
        ("x{{ 'a' ~ secrets['a'] }}", "`secrets`"),
    ],
)
def test_a_secret_in_a_command_s_arguments_is_refused(folder: Folder, word: str, what: str) -> None:
    folder.write("token", "hunter2")
    config = folder.load(f'secrets: {{a: b}}\nprocessors: {{p: {{command: [curl, "{word}"]}}}}', T="hunter2")
    (problem,) = problems(config)["p"]
    assert problem.startswith(f"{what} in a command's arguments can be seen")
    assert "`env:`" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("word", ["${HOME}/run", "{{ id }} secrets", "{{ id }}$${T}"])
def test_what_is_no_secret_may_be_an_argument(folder: Folder, word: str) -> None:
    text = f'processors: {{p: {{command: [run, "{word}"], env: {{T: "${{T}}"}}}}}}'
    assert problems(folder.load(text, T="hunter2", HOME="/home/jo"))["p"] == []


def test_secrets_from_a_file_of_json_or_yaml(folder: Folder) -> None:
    folder.write("keys.json", '{"17": "key-of-17", "list": ["${NOT_ME}", 123456]}')
    folder.write("keys.yaml", "a: {b: deep-value}\n")
    config = folder.load("secrets: {j: '${file:keys.json}', y: '${file:keys.yaml}', t: 'x-${file:keys.yaml}'}")
    assert config.secrets["j"] == {"17": "key-of-17", "list": ["${NOT_ME}", 123456]}
    assert config.secrets["y"] == {"a": {"b": "deep-value"}}
    assert config.secrets["t"] == "x-a: {b: deep-value}"
    names = {"secrets": config.secrets, "account": 17}
    assert Template("{{ secrets.j[account] }}", where="w").render(names) == "key-of-17"
    assert config.masker("key-of-17 123456 deep-value") == "*** *** ***"


def test_what_is_masked(folder: Folder) -> None:
    folder.write(".env", "B=from-env-file\nUNUSED=unused-value\n")
    folder.write("f", "from-a-file\n")
    config = folder.load(
        """
        env_file: .env
        store: "postgresql://me:db-password@host/db"
        secrets: {s: literal-secret}
        processors:
          p:
            http:
              url: "https://x/${A}/${B}/${file:f}"
              headers: {Authorization: "Bearer literal-token", X-Plain: plain-header}
              params: {api_key: literal-key, page: "${HOME}"}
        """,
        A="from-environment",
        HOME="/home/jo",
    )
    values = "from-environment from-env-file from-a-file literal-secret literal-token literal-key db-password"
    assert config.masker(values) == " ".join(["***"] * 7)
    assert config.masker("plain-header unused-value /home/jo Bearer") == "plain-header unused-value /home/jo Bearer"
    shown = str(config.effective)
    assert not [word for word in values.split() if word in shown]
    assert "plain-header" in shown
    assert "/home/jo" in shown


def test_the_fingerprint_changes_with_the_definition_and_its_secrets_only(folder: Folder) -> None:
    text = (
        "{x}secrets: {{a: '${{A}}'}}\nprocessors: {{p: {{http: {{url: 'https://x/{y}${{T}}'}}}}, q: {{command: [x]}}}}"
    )

    def prints(x: str = "", y: str = "", **environ: str) -> tuple[Any, ...]:
        processors = folder.load(text.format(x=x, y=y), **environ).processors
        return processors["p"].fingerprint, processors["q"].fingerprint

    first = prints(T="one", A="a")
    assert prints(T="one", A="other", x="# moved\n") == first
    assert prints(T="one", A="a", y="z")[0] != first[0]
    assert prints(T="one", A="a", y="z")[1] == first[1]
    changed = {prints(T=f"value-{n}", A="a")[0] for n in range(3)}
    assert len(changed | {first[0], prints(A="a")[0]}) == 5
    assert "one" not in first[0]
