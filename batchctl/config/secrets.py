"""Which values of a config are secret, who uses them, and how the config looks without them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from batchctl.config.interpolate import NO_SECRETS
from batchctl.masking import MASK
from batchctl.template import Filled, Text, authored

_SENSITIVE = re.compile(
    r"(?:^|[_.-])(?:password|passwd|secret|token|api[_-]?key|authorization|private[_-]?key|credentials?)$",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
_BLOCK = re.compile(r"\{[{%](.*?)[}%]\}", re.DOTALL)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


def literals(value: Any, key: str = "") -> Iterator[str]:
    """Secrets that stand in the file itself: values of keys like `api_key`, passwords in URLs."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from literals(below, str(name))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from literals(below, key)
    elif isinstance(value, str):
        yield from _USERINFO.findall(value)
        if _SENSITIVE.search(key) and not isinstance(value, Text) and "{{" not in value:
            yield from {value, value.split(" ")[-1]}


def exposed(source: Any) -> str | None:
    """What in a command's argument others must not see: the `${…}` or `secrets` in it, None if there is none."""
    for part in source.filled if isinstance(source, Text) else ():
        name = _REFERENCE.match(part.source)
        if name is None or name[1] not in NO_SECRETS:
            return part.source
    return "`secrets`" if isinstance(source, str) and uses_secrets(source) else None


def uses_secrets(source: str, name: str | None = None) -> bool:
    """Whether a template looks into `secrets` (at that name)."""
    wanted = r"\bsecrets\b" if name is None else rf"\bsecrets\s*(?:\.\s*|\[\s*['\"]){re.escape(name)}\b"
    return any(re.search(wanted, block) for block in _BLOCK.findall(authored(source)))


def strings(value: Any) -> Iterator[str]:
    """Every string in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from strings(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from strings(below)


class Vault(dict[str, Any]):
    """A mapping of secrets: `secrets.workiz[account_id]` finds the key "17" for the number 17, too."""

    def __missing__(self, key: object) -> Any:
        if isinstance(key, int) and str(key) in self:
            return self[str(key)]
        raise KeyError(key)


def plain(value: Any) -> Any:
    """The same data with ordinary strings, for `secrets` in templates."""
    if isinstance(value, Mapping):
        return Vault((name, plain(below)) for name, below in value.items())
    if isinstance(value, list):
        return [plain(below) for below in value]
    return str(value) if isinstance(value, str) else value


def masked(value: Any, key: str = "") -> Any:
    """The data as its author wrote it, with stars in the place of secrets."""
    if isinstance(value, Mapping):
        return {name: masked(below, str(name)) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [masked(below, key) for below in value]
    if isinstance(value, Text):
        return "".join(_shown(part) for part in value.parts)
    if isinstance(value, str):
        hidden = _SENSITIVE.search(key) and "{{" not in value
        return MASK if hidden else _USERINFO.sub(lambda m: m[0].replace(m[1], MASK), value)
    return value


def _shown(part: str | Filled) -> str:
    if isinstance(part, str):
        return part
    return MASK if part.secret else part.value


def stars(value: Any) -> Any:
    """The structure of `secrets:` with nothing of its content."""
    if isinstance(value, Mapping):
        return {name: stars(below) for name, below in value.items()}
    return [stars(below) for below in value] if isinstance(value, list) else MASK


def fingerprint(definition: Any, defaults: Any, secrets: Mapping[str, Any]) -> str:
    """A hash of a processor's definition and of the secrets that it uses.

    Of the secrets only 16 bits go in, under the definition as key: enough to see that one changed, far too little to
    guess one from it.
    """
    key = _digest([_sources(definition), _sources(defaults)])
    used = [part.value for text in strings(definition) if isinstance(text, Text) for part in text.filled]
    if any(uses_secrets(text) for text in strings(definition)):
        used.append(json.dumps(secrets, sort_keys=True, default=str))
    return key.hex() + _short(used, key)


def mark(definition: Any) -> str:
    """A hash of a definition alone, secrets left out."""
    return _digest(_sources(definition)).hex()


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _short(values: Iterable[str], key: bytes) -> str:
    data = "\0".join(values).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=2, key=key).hexdigest()


def _sources(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sources(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_sources(below) for below in value]
    if isinstance(value, Text):
        return "".join(part if isinstance(part, str) else part.source for part in value.parts)
    return value
