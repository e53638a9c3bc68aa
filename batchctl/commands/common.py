"""What every command shares: the global options, the config and the store they lead to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchctl import console
from batchctl.engines.again import SHORT, patiently
from batchctl.errors import ConfigError, InvalidInput, NotFound, StoreMissing, UsageError
from batchctl.urls import without_password

if TYPE_CHECKING:
    from batchctl.announce import Announcer
    from batchctl.config import Config, ProcessorConfig
    from batchctl.errors import StoreInterrupted
    from batchctl.store import Store
    from batchctl.views import Views


_ORGANIZATION = re.compile(rb"\borganization\b")  # the word, wherever it stands
_LONG = 30.0  # seconds for which a worker asks a server again that does not answer


@dataclass
class Globals:
    """The global options as given, the environment behind them, and what follows from both.

    Each property answers in the contract's order: flag, environment, config file, default.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    cwd: Path = field(default_factory=Path.cwd)
    flags: dict[str, Any] = field(default_factory=dict)
    _config: Config | None = field(default=None, repr=False)
    _store: Store | None = field(default=None, repr=False)
    _patience: float = SHORT

    @property
    def config_path(self) -> Path | None:
        """The config file that was named, None where it is to be looked for."""
        given = self.flags.get("config") or self.environ.get("BATCHCTL_CONFIG")
        return Path(given) if given else None

    @property
    def store_url(self) -> str | None:
        """The store that was named by flag or environment."""
        return self.flags.get("store") or self.environ.get("BATCHCTL_STORE") or None

    @property
    def organization(self) -> str | None:
        """The organization that everything is limited to, None for all of them. Raises ConfigError where the config
        is broken and may name one: others must not come to light by a mistake in it."""
        given = _text(self.flags.get("org") or self.environ.get("BATCHCTL_ORG"), "--org")
        if given:
            return given
        try:
            return self.config().organization
        except ConfigError:
            if self._may_name_organization():
                raise
            return None

    def _may_name_organization(self) -> bool:
        """Whether the config's text, which is no config, has such a key, or cannot be read."""
        from batchctl import locate

        try:
            path = locate.find(self.config_path, self.environ, self.cwd)
        except ConfigError:
            return False
        try:
            return path is not None and _ORGANIZATION.search(locate.read(path, "config file")) is not None
        except ConfigError:
            return True

    def whole_store(self, what: str) -> None:
        """Raises UsageError where everything is limited to one organization, but `what` concerns all of them."""
        if self.organization is not None:
            hint = "leave out --org, and unset BATCHCTL_ORG"
            raise UsageError(f"{what} every organization's work, not only that of {self.organization}", hint=hint)

    def only_json(self, form: str | None) -> None:
        """Raises UsageError where --json meets a --format that is no JSON: standard output can hold one of them."""
        if self.json and form not in (None, "table", "json"):
            raise UsageError(f"--json and --format {form}: one of them")

    @property
    def user(self) -> str:
        """Who acts: by flag, environment, or the login name."""
        given = _text(self.flags.get("user") or self.environ.get("BATCHCTL_USER"), "--user")
        return given or self._preset("user") or _login()

    def _preset(self, name: str) -> str | None:
        """What the config says; nothing where it is broken, for commands that can do without it."""
        try:
            found: str | None = getattr(self.config(), name)
        except ConfigError:
            return None
        return found

    @property
    def verbose(self) -> int:
        return int(self.flags.get("verbose") or 0)

    @property
    def quiet(self) -> bool:
        return bool(self.flags.get("quiet"))

    @property
    def json(self) -> bool:
        return bool(self.flags.get("json"))

    @property
    def no_color(self) -> bool:
        return bool(self.flags.get("no_color"))

    def config(self) -> Config:
        """The config, read once. Raises ConfigError with all its problems."""
        if self._config is None:
            from batchctl.config import load

            self._config = load(self.config_path, self.environ, self.cwd)
            for warning in self._config.warnings if self.verbose else ():
                console.warn(warning)
        return self._config

    def config_again(self) -> Config:
        """The config as it is now. Raises ConfigError; then the one that was read before still holds."""
        before, self._config = self._config, None
        try:
            return self.config()
        except ConfigError:
            self._config = before
            raise

    def start_journal(self, *, service: bool = False) -> None:
        """Let the tool's own log speak: warnings; with -v each step, with -vv everything. A service also tells when it
        starts, reloads and stops. Raises InvalidInput for a format that there is not."""
        from batchctl import journal

        usual = journal.NOTICE if service and not self.quiet else journal.WARNING
        level = {0: usual, 1: journal.INFO}.get(self.verbose, journal.DEBUG)
        named = self.flags.get("log_format") or self.environ.get("BATCHCTL_LOG_FORMAT") or "logfmt"
        if named not in ("logfmt", "json"):
            raise InvalidInput(f"--log-format {named!r}: it takes logfmt or json")
        journal.configure(level, format="json" if named == "json" else "logfmt", mask=self.mask)

    def target(self) -> str:
        """The URL or path of the store to use."""
        return self.store_url or self.config().store

    def open_store(self, create: bool = False) -> Store:
        """The store, opened once. Raises StoreMissing (unless `create`) or another StoreError."""
        if self._store is None:
            self._store = self._connected(create)
        return self._store

    def another_store(self) -> Store:
        """Another connection to the same store, for another thread."""
        return self._connected(create=False)

    def be_patient(self) -> None:
        """A worker: nobody waits for its first words, and a server that restarts is soon there again."""
        self._patience = _LONG

    def _connected(self, create: bool) -> Store:
        from batchctl.store import Store

        target, announcer = self.target(), self.announcer()
        return patiently(
            lambda: Store.open(target, create=create, announcer=announcer), self._patience, self._tell_of_the_wait
        )

    def _tell_of_the_wait(self, error: StoreInterrupted) -> None:
        if self._patience == _LONG and (self.verbose or console.interactive()):
            console.note(f"{error.message}; trying again for {_LONG:.0f} s")

    def announcer(self) -> Announcer | None:
        """Who writes messages, where the config wants any; without a config that can be read nobody is told."""
        try:
            config = self.config()
        except ConfigError:
            return None
        if not config.notifications:
            return None
        from batchctl.notify import ConfigAnnouncer

        return ConfigAnnouncer(config)

    def store_or_none(self) -> Store | None:
        """The store for a command that only reads; where there is none: None, and a note that says so."""
        try:
            return self.open_store()
        except StoreMissing:
            console.note(f"no store at {without_password(self.target())} yet ({self._looked_at()})")
            return None

    def existing_store(self, what: str) -> Store:
        """The store that holds `what` (a batch or item as named). Raises NotFound where there is no store."""
        store = self.store_or_none()
        if store is None:
            hint = "`batchctl enqueue` makes one"
            raise NotFound(f"no batch or item {what!r}: there is no store yet", hint=hint)
        return store

    def views(self, store: Store) -> Views:
        """Questions about the store, limited to the organization that was asked for."""
        from batchctl.views import Views

        return Views(store.engine, self.organization, self._max_attempts)

    def processor_config(self, name: str, definition: str | None = None) -> ProcessorConfig | None:
        """What the config here knows of a processor, or what its batch brought along; None for nothing."""
        try:
            if definition:
                from batchctl.config import inline

                return inline(definition)
            return self.config().processors.get(name)
        except ConfigError:  # reading goes on without a config
            return None

    def _max_attempts(self, name: str, definition: str | None) -> int | None:
        found = self.processor_config(name, definition)
        return None if found is None else found.max_retries + 1

    def _looked_at(self) -> str:
        if self.store_url:
            return "named by --store or BATCHCTL_STORE"
        path = self.config().path
        return f"config: {path}" if path else "no config file found, so the default store"

    def close(self) -> None:
        """Close what was opened."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def mask(self, text: str) -> str:
        """The text without the config's secrets, for messages that nobody wrote by hand."""
        return self._config.masker(text) if self._config is not None else text


def globals_of(ctx: Any) -> Globals:
    """The Globals of a running command, from its Typer context."""
    found = ctx.find_root().obj
    if not isinstance(found, Globals):
        raise TypeError("the command runs outside of batchctl.cli")
    return found


def confirm(question: str, *, yes: bool) -> None:
    """Let a person agree to what cannot be undone; `yes` has agreed already. Raises UsageError for a no.

    Without a terminal nothing is asked and nothing is refused: a script means what it says.
    """
    if yes or not console.interactive() or console.ask(question):
        return
    raise UsageError("not confirmed, nothing was changed")


def moment(text: str | None, option: str, *, past: bool = False) -> int | None:
    """A TIME option (ISO 8601, `02:00`, `+2h`; with `past` also `24h` ago) as ms UTC. Raises InvalidInput."""
    if text is None:
        return None
    import time

    from batchctl import duration

    try:
        return duration.moment(text, now=time.time_ns() // 1_000_000, past=past)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from None


def _text(value: str | None, option: str) -> str | None:
    if value and not value.isprintable():
        raise InvalidInput(f"{option}: {value!r} holds characters that cannot be printed")
    return value or None


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def batch_name(text: str | None) -> None:
    """Raises InvalidInput for a --name that no batch may have."""
    one_line(text, "--name")
    if text == "latest":
        raise InvalidInput("--name latest: that word means the newest batch", hint="choose another name")


def one_line(text: str | None, option: str) -> None:
    """Raises InvalidInput where the option's text is not one line of printable text."""
    if text is not None and (not text.strip() or not text.isprintable()):
        raise InvalidInput(f"{option}: {text!r} is empty or holds characters that cannot be printed")
