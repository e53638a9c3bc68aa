"""Templates and expressions: values of the config that are filled in for each item.

A template without Jinja's syntax is a constant; one that only looks up names (`https://x/{{ id }}`) is done
by hand, because that is nearly all of them and must cost next to nothing; everything else is compiled by a
sandboxed Jinja, which is imported only then (see `jinja.py`).
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from batchctl.duration import iso
from batchctl.errors import UsageError
from batchctl.model import BatchRef, Item

Scope = Mapping[str, Any]
Render = Callable[[Scope], Any]
Missing = Callable[[Mapping[str, Any], Collection[str]], list[str]]

ALWAYS = frozenset({"key", "item", "batch", "attempt", "steps", "secrets", "idempotency_key", "now"})
WINNERS = ALWAYS - {"key"}  # over payload fields of the same name
FILE_NAMES = frozenset({"path", "name", "stem", "suffix", "dir", "size", "sha256"})
BATCH_NAMES = frozenset({"id", "name", "organization", "user", "kind", "created_at", "total_items"})
ITEM_NAMES = frozenset({"number", "key", "payload", "file"})

_LOOKUP = re.compile(r"\{\{\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*\}\}")
_MARKUP = re.compile(r"\{[{%#]")
_SECRETS = re.compile(r"\bsecrets\b")
_RESERVED = frozenset(keyword.kwlist) | {
    "true",
    "false",
    "none",
    "range",
    "dict",
    "namespace",
    "self",
    "super",
}


class TemplateError(UsageError):
    """A template cannot be filled in for an item: a name is missing, or a value does not fit."""

    def __init__(self, message: str, *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class Filled:
    """A value that took the place of `${…}`; `source` is what stood there."""

    value: str
    source: str
    secret: bool = True
    missing: bool = False


class Text(str):
    """A string of the config after its `${…}` were filled in: the whole as a `str`, and `parts`.

    The parts keep what was filled in apart from what the config's author wrote. So a secret that holds `{{` is
    never read as a template, and `config show` can print everything else.
    """

    parts: tuple[str | Filled, ...]

    def __new__(cls, parts: Iterable[str | Filled]) -> Text:
        kept = tuple(parts)
        text = super().__new__(cls, "".join(p if isinstance(p, str) else p.value for p in kept))
        text.parts = kept
        return text

    @property
    def filled(self) -> tuple[Filled, ...]:
        return tuple(p for p in self.parts if isinstance(p, Filled))

    def __reduce__(self) -> tuple[type[Text], tuple[tuple[str | Filled, ...]]]:
        return Text, (self.parts,)


class Template:
    """One compiled value: a string, or a list or mapping of them; anything else stands for itself.

    `where` names the place in messages. With `url` the values that are put in are percent-encoded (not those
    made with the `safe` filter, nor what `${…}` gave). Raises ConfigError where the syntax is wrong.
    """

    __slots__ = ("_checks", "_render", "source", "uses_secrets", "where")

    def __init__(self, source: Any, *, where: str, url: bool = False) -> None:
        self.source = source
        self.where = where
        self.uses_secrets = False
        self._checks: list[Missing] = []
        self._render = self._compile(source, where, url)

    def render(self, scope: Scope) -> Any:
        """The filled-in value. Raises TemplateError."""
        return self._render(scope)

    def missing(self, payload: Mapping[str, Any], known: Collection[str]) -> list[str]:
        """The names that this template needs and an item with this payload does not have; [] if all is well.

        `known` are the names that the item has beside its payload (the file names); those that every item has
        are known anyway. What `is defined`, `default` or a branch not taken guards is not missing.
        """
        names: list[str] = []
        for check in self._checks:
            names += [n for n in check(payload, known) if n not in names]
        return names

    def missing_secret(self, payload: Mapping[str, Any], known: Collection[str], secrets: Any) -> str | None:
        """The name that `secrets` (as `jinja.tolerant` gives them) lacks for an item that misses nothing else."""
        from batchctl import jinja

        return jinja.probe(self._render, payload, known, secrets)

    @property
    def constant(self) -> bool:
        """It is the same for every item."""
        return not self._checks

    def _compile(self, source: Any, where: str, url: bool) -> Render:
        if isinstance(source, str):
            return self._compile_text(source, where, url)
        if isinstance(source, Mapping):
            pairs = [
                (self._compile(name, where, False), self._compile(value, f"{where}.{name}", url))
                for name, value in source.items()
            ]
            return lambda scope: {key(scope): value(scope) for key, value in pairs}
        if isinstance(source, list | tuple):
            parts = [self._compile(v, f"{where}[{n}]", url) for n, v in enumerate(source)]
            return lambda scope: [part(scope) for part in parts]
        return lambda _scope: source

    def _compile_text(self, source: str, where: str, url: bool) -> Render:
        author = authored(source)
        if not _MARKUP.search(author):
            constant = str(source)
            return lambda _scope: constant
        self.uses_secrets = self.uses_secrets or _SECRETS.search(author) is not None
        pieces = _lookups(source, author)
        if pieces is not None:
            needs = [tuple(p.split(".")) for p in pieces[1::2]]
            self._checks.append(Check(needs))
            return _fast(pieces, where, url)
        from batchctl import jinja

        program = jinja.compile_text(source, author, where, url)
        self._checks.append(program.check)
        return program.render


def expression(source: Any, *, where: str = "expression") -> Render:
    """A function from names to a value, for `success`, `result` and their like.

    Both the bare `status in (201, 409)` and the template `{{ body }}` will do; what is no string stands for
    itself. Raises ConfigError; the function raises TemplateError.
    """
    if isinstance(source, str) and not _MARKUP.search(authored(source)):
        parts = source.parts if isinstance(source, Text) else (str(source),)
        source = Text(("{{ ", *parts, " }}"))
    return Template(source, where=where).render


def scope(item: Item, *, secrets: Mapping[str, Any], steps: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The names that templates see. `now` is in ms UTC and appears as ISO 8601.

    Payload fields stand at the top; `key` and the file's facts where no field has that name; the rest wins.
    """
    names: dict[str, Any] = {"key": item.key}
    if item.file is not None:
        path = PurePath(item.file.path)
        names.update(
            path=item.file.path,
            name=item.file.name,
            stem=path.stem,
            suffix=path.suffix,
            dir=str(path.parent),
            size=item.file.size,
            sha256=item.file.sha256,
        )
    names.update(item.payload)
    names.update(
        item=_item_names(item),
        batch=_batch_names(item.batch),
        attempt=item.attempt,
        steps=steps,
        secrets=secrets,
        idempotency_key=item.idempotency_key,
        now=iso(now),
    )
    return names


def _item_names(item: Item) -> dict[str, Any]:
    file = item.file and {
        "path": item.file.path,
        "name": item.file.name,
        "size": item.file.size,
        "sha256": item.file.sha256,
        "media_type": item.file.media_type,
    }
    return {"number": item.number, "key": item.key, "payload": item.payload, "file": file}


@lru_cache(maxsize=256)
def _batch_names(batch: BatchRef) -> dict[str, Any]:
    return {
        "id": batch.id,
        "name": batch.name,
        "organization": batch.organization,
        "user": batch.user,
        "kind": str(batch.kind),
        "created_at": iso(batch.created_at),
        "total_items": batch.total_items,
    }


def to_text(value: Any) -> str:
    """How a value looks inside a longer text: null is empty, true is small, lists and objects are JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


class Check:
    """What one template needs from an item's payload, as paths of names."""

    __slots__ = ("_deep", "_names", "_wrong")

    def __init__(self, paths: Sequence[tuple[str, ...]]) -> None:
        roots = {path[0] for path in paths}
        self._names = frozenset(roots - ALWAYS)
        self._wrong = [".".join(path) for path in paths if _never(path)]
        self._deep = [path for path in paths if len(path) > 1 and path[0] not in WINNERS]
        self._deep += [path for path in paths if path[:2] == ("item", "payload") and len(path) > 2]

    def __call__(self, payload: Mapping[str, Any], known: Collection[str]) -> list[str]:
        if not self._deep and not self._wrong and self._names <= payload.keys():
            return []
        names = [*self._wrong, *sorted(n for n in self._names if n not in payload and n not in known)]
        for path in self._deep:
            start, rest = ({"item": {"payload": payload}}, path) if path[0] == "item" else (payload, path)
            if rest[0] in start and not _reaches(start, rest):
                names.append(".".join(path))
        return names


def _never(path: tuple[str, ...]) -> bool:
    """`batch.usr`: no item has such a name."""
    known = {"batch": BATCH_NAMES, "item": ITEM_NAMES}.get(path[0])
    return known is not None and len(path) > 1 and path[1] not in known


def _reaches(value: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(value, Mapping):
            return not isinstance(value, str | int | float | bool | None)
        if name not in value:
            return False
        value = value[name]
    return True


def authored(source: str) -> str:
    """What the config's author wrote, with a name in the place of each value that was filled in."""
    if not isinstance(source, Text):
        return source
    return "".join(p if isinstance(p, str) else marker(n) for n, p in enumerate(source.parts))


def marker(number: int) -> str:
    """Stands for `parts[number]` in what Jinja parses; a name, so that it may also stand in an expression."""
    return f"batchctl_filled_{number}_"


MARKER = re.compile(r"batchctl_filled_(\d+)_")


def unmark(text: str, source: str) -> str:
    """Puts the filled-in values back into a literal piece of the template."""
    if not isinstance(source, Text):
        return text
    return MARKER.sub(lambda match: _value(source.parts[int(match[1])]), text)


def _value(part: str | Filled) -> str:
    return part if isinstance(part, str) else part.value


def _lookups(source: str, author: str) -> list[str] | None:
    """[literal, name, literal, name, …, literal] where the template only looks up names, else None."""
    pieces = _LOOKUP.split(author)
    if any(_MARKUP.search(literal) for literal in pieces[0::2]):
        return None
    for name in pieces[1::2]:
        if MARKER.search(name) or not _RESERVED.isdisjoint(name.split(".")):
            return None
    return [unmark(p, source) if n % 2 == 0 else p for n, p in enumerate(pieces)]


def _fast(pieces: list[str], where: str, url: bool) -> Render:
    gets = [_getter(name, where) for name in pieces[1::2]]
    literals = pieces[0::2]
    if not url and len(gets) == 1 and not "".join(literals).strip():
        return gets[0]
    texts = [_quoted(get) if url else _texted(get) for get in gets]
    first, rest = literals[0], list(zip(texts, literals[1:], strict=True))
    return lambda scope: first + "".join([text(scope) + literal for text, literal in rest])


def _texted(get: Render) -> Callable[[Scope], str]:
    return lambda scope: to_text(get(scope))


def _quoted(get: Render) -> Callable[[Scope], str]:
    return lambda scope: quote(to_text(get(scope)), safe="", errors="surrogateescape")


def _getter(dotted: str, where: str) -> Render:
    head, *rest = dotted.split(".")

    def get(scope: Scope) -> Any:
        try:
            value = scope[head]
            for name in rest:
                value = value[name]
        except (KeyError, TypeError, IndexError):
            raise TemplateError(f"{where}: `{dotted}` is missing", name=dotted) from None
        return value

    return get
