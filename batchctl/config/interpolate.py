"""`${NAME}`, `${NAME:-default}`, `${NAME|url}`, `${file:PATH}`: what a config takes from outside.

Whatever comes from outside is taken for a secret, but for a few variables that hold none by their very meaning.
What is missing stays as it was written and is noted in `Interpolator.missing`; the caller decides whom that stops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from batchctl.config.problems import Path as At
from batchctl.config.report import Report
from batchctl.template import Filled, Text

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{(?!\{)")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*?))?(\|url)?", re.DOTALL)
_FILE = re.compile(r"file:(.+?)(\|url)?", re.DOTALL)
_LARGEST_FILE = 1_000_000
NO_SECRETS = frozenset(
    {
        "HOME", "USER", "LOGNAME", "PATH", "PWD", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOSTNAME",
        "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CACHE_DIRECTORY", "CONFIGURATION_DIRECTORY",
        "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
    }
)  # fmt: skip


@dataclass
class Interpolator:
    """Fills in references. `missing` lists (path, words) of what is not there, `absent` the variables among it,
    `secrets` every value taken."""

    environ: Mapping[str, str]
    folder: Path
    report: Report
    missing: list[tuple[At, str]] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)

    def fill(self, value: Any, path: At) -> Any:
        """The same data with every reference in its strings filled in; such strings become `Text`."""
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {k: self.fill(v, (*path, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v, (*path, n)) for n, v in enumerate(value)]
        return value

    def fill_secrets(self, value: Any, path: At) -> Any:
        """The same for `secrets:`, where all is secret and a file of JSON or YAML becomes its content."""
        if isinstance(value, str) and (match := re.fullmatch(r"\$\{file:([^{}|]+)\}", value.strip())):
            value = self._structure(match[1].strip(), path) or value
        filled = self._secret_parts(value, path)
        self.secrets.update(_leaves(filled))
        return filled

    def _secret_parts(self, value: Any, path: At) -> Any:
        if isinstance(value, dict):
            return {k: self.fill_secrets(v, (*path, k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill_secrets(v, (*path, n)) for n, v in enumerate(value)]
        return self.fill(value, path) if isinstance(value, str) and not isinstance(value, _Read) else value

    def _structure(self, name: str, path: At) -> Any:
        content = self._read(name, path, quiet=True)
        if content is None:
            return None
        if Path(name).suffix.lower() in (".yaml", ".yml"):
            return _sealed(self._yaml(content, path))
        try:
            data = json.loads(content)
        except ValueError:
            return None
        return _sealed(data) if isinstance(data, dict | list) else None

    def _yaml(self, content: str, path: At) -> Any:
        from batchctl.config.document import parse

        inner = Report(self.report.file)
        data = parse(content.encode(), inner)
        if inner.failed:
            self.report.value_error(path, "the file it names is not valid YAML")
        return data if isinstance(data, dict | list) else None

    def _text(self, source: str, path: At) -> str:
        parts: list[str | Filled] = []
        at = 0
        for match in _REFERENCE.finditer(source):
            parts += [source[at : match.start()], self._part(match, path)]
            at = match.end()
        parts.append(source[at:])
        parts = [p for p in parts if p != ""]
        if all(isinstance(p, str) for p in parts):
            return "".join(p for p in parts if isinstance(p, str))
        return Text(parts)

    def _part(self, match: re.Match[str], path: At) -> str | Filled:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            self.report.value_error(path, "`${` is not closed; for the characters themselves write `$${`")
            return match[0]
        if found := _FILE.fullmatch(match[1].strip()):
            content = self._read(found[1].strip(), path)
            return self._filled(content and content.rstrip("\r\n"), match[0], url=bool(found[2]), secret=True)
        if found := _NAME.fullmatch(match[1].strip()):
            return self._variable(found, match[0], path)
        forms = "${NAME}, ${NAME:-default}, ${NAME|url} and ${file:PATH}"
        self.report.value_error(path, f"`{match[0]}` is none of {forms}; for the characters themselves write `$${{`")
        return match[0]

    def _variable(self, found: re.Match[str], source: str, path: At) -> Filled:
        name, default, url = found[1], found[2], bool(found[3])
        value = self.environ.get(name)
        if default is not None and not value:
            return self._filled(default, source, url=url, secret=False)
        if value is None:
            self.absent.add(name)
            self.missing.append((path, f"the environment variable {name} is not set"))
        return self._filled(value, source, url=url, secret=name not in NO_SECRETS)

    def _filled(self, value: str | None, source: str, *, url: bool, secret: bool) -> Filled:
        if value is None:
            return Filled(source, source, secret=False, missing=True)
        if secret:
            self.secrets.add(value)
        return Filled(quote(value, safe="") if url else value, source, secret=secret)

    def _read(self, name: str, path: At, *, quiet: bool = False) -> str | None:
        place = self.folder / Path(name).expanduser()
        try:
            with place.open("rb") as file:
                data = file.read(_LARGEST_FILE + 1)
            if len(data) > _LARGEST_FILE:
                raise ValueError("larger than 1 MB")
            return data.decode("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text of at most 1 MB"
            if not quiet:
                self.missing.append((path, f"the secret file {place} cannot be read: {reason}"))
            return None


class _Read(str):
    """A string that came out of a secret file: nothing in it is a reference."""

    __slots__ = ()


def _sealed(value: Any) -> Any:
    if isinstance(value, str):
        return _Read(value)
    if isinstance(value, dict):
        return {str(k): _sealed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_sealed(v) for v in value]
    return value


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for below in value.values():
            yield from _leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from _leaves(below)
    elif isinstance(value, Text) and any(part.missing for part in value.filled):
        return
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def read_credentials(folder: str | None) -> dict[str, str]:
    """What systemd hands over with LoadCredential=: files in $CREDENTIALS_DIRECTORY, each named as its variable."""
    found: dict[str, str] = {}
    for path in sorted(Path(folder).glob("*")) if folder and folder.startswith("/") else []:
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", path.name) and path.is_file():
            with suppress(OSError, ValueError):
                found[path.name] = path.read_bytes()[:_LARGEST_FILE].decode("utf-8-sig").rstrip("\r\n")
    return found


def read_env_file(data: str, file: str, report: Report) -> dict[str, str]:
    """`NAME=value` lines as shells and systemd read them: `export`, quotes and # comments are understood."""
    found: dict[str, str] = {}
    for number, line in enumerate(data.splitlines(), 1):
        words = line.strip().removeprefix("export ").strip()
        if not words or words.startswith("#"):
            continue
        name, equals, value = words.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            report.error(("env_file",), f"{file}, line {number}, is not NAME=value")
            continue
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if match := re.match(r"'([^']*)'", value):
        return match[1]
    if match := re.match(r'"((?:[^"\\]|\\.)*)"', value):
        escapes = {"n": "\n", "t": "\t", "r": "\r"}
        return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), match[1])
    return re.split(r"\s#", value, maxsplit=1)[0].rstrip()
