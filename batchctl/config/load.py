"""From a file to a Config: find it, read it, fill in `${…}`, check it, build the structs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchctl import locate
from batchctl.config import build, notifications, secrets
from batchctl.config.available import unavailable
from batchctl.config.document import parse
from batchctl.config.interpolate import Interpolator, read_credentials, read_env_file
from batchctl.config.problems import Problem, dotted
from batchctl.config.report import Report
from batchctl.config.schema import CONFIG
from batchctl.config.shapes import is_missing
from batchctl.config.structs import Config, Ping, ProcessorConfig, WorkerConfig
from batchctl.errors import ConfigError
from batchctl.masking import Masker
from batchctl.template import Text

_OUTSIDE = ("store", "env_file", "check")  # keys that decide where `check` looks and what it does


def load(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Config:
    """The config that holds here; the defaults where there is no file. Raises ConfigError with all problems.

    What keeps single processors from running is in their `problems` and raises nothing. Templates are not compiled.
    """
    config, problems = examine(explicit, environ, cwd, deep=False)
    if config is None:
        raise refusal(problems)
    return config


def examine(
    explicit: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    deep: bool = True,
    probe: Callable[[str], str | None] | None = None,
) -> tuple[Config | None, list[Problem]]:
    """The config and all that is wrong with it; no Config where it is refused.

    With `deep` every template is compiled; `probe` then says what is wrong with an address of
    `notifications:`. Raises ConfigError where the file is missing or may not be trusted.
    """
    path = locate.find(explicit, environ, cwd)
    if path is None:
        return _without_file(environ, cwd), []
    reader = _Reader(path, environ, _shown(path, cwd))
    config = reader.read()
    if deep:
        from batchctl.config.verify import verify, verify_addresses

        verify(reader.report)
        if config is not None:
            masked = None if probe is None else lambda url: config.masker(probe(url) or "") or None
            verify_addresses(reader.data.get("notifications"), config.secrets, masked, reader.report)
    problems = reader.report.sorted("error", "processor", "warning")
    return (None if reader.report.failed else config), problems


def ping_of_refused(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Ping | None:
    """Whom a `check` tells that its config is refused; None where the file does not say it, or may not be trusted."""
    try:
        path = locate.find(explicit, environ, cwd)
        if path is None:
            return None
        reader = _Reader(path, environ, _shown(path, cwd))
        reader.read()
    except ConfigError:
        return None
    checks = reader.data.get("check")
    given = checks.get("ping") if isinstance(checks, dict) else None
    more = given if isinstance(given, dict) else {"url": given}
    url = more.get("url")
    if not isinstance(url, str) or is_missing(url) or not url.startswith(("https://", "http://")):
        return None
    return Ping(url=url, start=False, exit_status=more.get("exit_status") is True)


def refusal(problems: Iterable[Problem]) -> ConfigError:
    """The error that lists them."""
    found = [str(problem) for problem in problems if problem.level != "warning"]
    several = f"{len(found)} problems" if len(found) != 1 else "a problem"
    return ConfigError(f"the config has {several}", details=found, hint="`batchctl config check` checks it again")


def _shown(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def _without_file(environ: Mapping[str, str], cwd: Path) -> Config:
    worker = _with_environment(WorkerConfig(), environ)
    store = str(locate.default_store(environ))
    effective = {"store": store, "worker": _worker_shown({}, worker)}
    return Config(folder=cwd, store=store, worker=worker, effective=effective)


def _with_environment(worker: WorkerConfig, environ: Mapping[str, str]) -> WorkerConfig:
    given = environ.get("BATCHCTL_CONCURRENCY")
    if not given:
        return worker
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= 4096:
        raise ConfigError(f"BATCHCTL_CONCURRENCY is {given!r}; it takes a whole number from 1 to 4096")
    return replace(worker, concurrency=int(given))


def _worker_shown(written: Mapping[str, Any], worker: WorkerConfig) -> dict[str, Any]:
    usual = {"lease": "60s", "grace": "30s", "max_crashes": 3, "min_free": "500MB"}
    return {**usual, **secrets.masked(written), "concurrency": worker.concurrency}


class _Reader:
    """Reads one file. Every step notes problems in `report` and goes on."""

    def __init__(self, path: Path, environ: Mapping[str, str], shown: str) -> None:
        self.path = path
        self.folder = path.parent
        self.environ = environ
        self.report = Report(shown)
        self.env_paths: list[Path] = []
        self.data: dict[str, Any] = {}

    def read(self) -> Config | None:
        document = parse(locate.read(self.path, "config file"), self.report)
        if not isinstance(document, dict):
            if not self.report.failed:
                self.report.error((), "a config is a mapping of keys such as `processors:`")
            return None
        handed = read_credentials(self.environ.get("CREDENTIALS_DIRECTORY"))
        outside = handed | self._env_files(document.get("env_file")) | dict(self.environ)
        self.fill = Interpolator(outside, self.folder, self.report)
        self.data = {
            key: (self.fill.fill_secrets if key == "secrets" else self.fill.fill)(value, (key,))
            for key, value in document.items()
        }
        self.checked = CONFIG.read(self.data, (), self.report)
        self._judge_missing()
        self._judge_arguments()
        self._judge_availability()
        return None if self.report.failed else self._config()

    def _env_files(self, named: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in named if isinstance(named, list) else [named]:
            if isinstance(name, str) and name:
                found |= self._env_file(Interpolator(self.environ, self.folder, self.report).fill(name, ("env_file",)))
        return found

    def _env_file(self, name: str) -> dict[str, str]:
        path = self.folder / Path(str(name)).expanduser()
        self.env_paths.append(path)
        if not path.exists():
            self.report.add("warning", ("env_file",), f"the env_file {path} does not exist")
            return {}
        try:
            text = locate.read(path, "env_file").decode("utf-8-sig")
        except ConfigError as error:
            self.report.error(("env_file",), error.message + (f" ({error.hint})" if error.hint else ""))
        except UnicodeDecodeError:
            self.report.error(("env_file",), f"the env_file {path} is not UTF-8 text")
        else:
            return read_env_file(text, str(path), self.report)
        return {}

    def _judge_missing(self) -> None:
        """A missing value stops the processors that need it, or the config where that needs it."""
        for path, text in self.fill.missing:
            match path[0]:
                case "processors":
                    self.report.add("processor", path, text)
                case "secrets":
                    self._judge_missing_secret(str(path[1]) if len(path) > 1 else "", text, path)
                case "defaults":
                    for name in self._processors():
                        self.report.add("processor", ("processors", name), text, mark=self.report.place(path))
                case "check" | "notifications":
                    self.report.add("warning", path, text)
                case _:
                    self.report.error(path, text)

    def _judge_missing_secret(self, secret: str, text: str, path: tuple[str | int, ...]) -> None:
        mark = self.report.place(path)
        users = [
            name
            for name, data in self._processors().items()
            if any(secrets.uses_secrets(source, secret) for source in secrets.strings(data))
        ]
        for name in users:
            self.report.add("processor", ("processors", name), text, mark=mark)
        if not users:
            self.report.add("warning", path, text)

    def _judge_arguments(self) -> None:
        for found in self.report.templates:
            if found.mode == "argument" and (what := secrets.exposed(found.source)):
                text = (
                    f"{what} in a command's arguments can be seen by every user of this machine: hand it over in `env:`"
                )
                self.report.add("processor", found.path, text)

    def _judge_availability(self) -> None:
        for name, data in self._processors().items():
            for keys in unavailable(data) if isinstance(data, dict) else []:
                text = f"`{dotted(keys)}` is not available in this version"
                self.report.add("processor", ("processors", name, *keys), text, key=True)

    def _processors(self) -> dict[str, Any]:
        found = self.data.get("processors")
        return found if isinstance(found, dict) else {}

    def _config(self) -> Config:
        checked = self.checked
        worker = _with_environment(build.worker(checked.get("worker", {}), self.folder), self.environ)
        named = checked.get("store")
        store = build.store(named, self.folder) if named else str(locate.default_store(self.environ))
        return Config(
            path=self.path,
            folder=self.folder,
            store=store,
            store_from="config" if named else "default",
            organization=checked.get("organization"),
            user=checked.get("user"),
            worker=worker,
            check=build.check(checked.get("check", {})),
            notifications=notifications.build(checked.get("notifications", ())),
            processors={name: self._processor(name) for name in checked.get("processors", {})},
            organizations=build.organizations(checked.get("organizations", {})),
            secrets=secrets.plain(checked.get("secrets", {})),
            masker=Masker([*self.fill.secrets, *self._literals()]),
            fixed=not any(isinstance(text, Text) for key in _OUTSIDE for text in secrets.strings(self.data.get(key))),
            warnings=tuple(str(problem) for problem in self.report.sorted("warning")),
            effective=self._effective(store, worker),
            absent=tuple(sorted(self.fill.absent)),
            env_files=tuple(self.env_paths),
        )

    def _literals(self) -> Iterable[str]:
        """Secrets that stand in the file itself."""
        told = self.data.get("notifications")
        yield from notifications.literals(told)
        yield from secrets.literals({key: value for key, value in self.data.items() if key != "notifications"})

    def _processor(self, name: str) -> ProcessorConfig:
        definition, defaults = self.data["processors"][name], self.checked.get("defaults", {})
        found = [str(p) for p in self.report.sorted("processor") if p.processor == name]
        mark = secrets.fingerprint(definition, self.data.get("defaults"), self.checked.get("secrets", {}))
        data = self.checked["processors"][name]
        return build.processor(name, data, defaults, self.folder, problems=tuple(found), fingerprint=mark)

    def _effective(self, store: str, worker: WorkerConfig) -> dict[str, Any]:
        """As it was written, defaults merged in, without secrets."""
        shown = {key: secrets.masked(value) for key, value in self.data.items() if key != "secrets"}
        if self.data.get("secrets"):
            shown["secrets"] = secrets.stars(self.data["secrets"])
        usual = {"timeout": "30m", "max_retries": 3} | (shown.get("defaults") or {})
        backoff = {"base": "30s", "factor": 4, "max": "15m", "jitter": 0.1} | (usual.get("backoff") or {})
        shown["defaults"] = usual | {"backoff": backoff}
        shown["store"] = secrets.masked(store)
        shown["worker"] = _worker_shown(self.data.get("worker") or {}, worker)
        return {key: shown[key] for key in CONFIG.keys if key in shown}
