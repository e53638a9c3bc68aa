"""The sandboxed Jinja behind `template.py`, for what does more than look up names. Heavy: imported on use."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from batchctl.errors import ConfigError
from batchctl.template import (
    ALWAYS,
    MARKER,
    Check,
    Missing,
    Render,
    Scope,
    TemplateError,
    Text,
    to_text,
    unmark,
)

_RESULT = "batchctl_result"
_GUARDS = frozenset({"default", "d"})
_DEFINED = frozenset({"defined", "undefined"})
_UNDEFINED = re.compile(r"has no (?:attribute|element) '?(.*?)'?$|'?(.+?)'? is undefined$")


@dataclass(frozen=True, slots=True)
class Program:
    render: Render
    check: Missing


def compile_text(source: str, author: str, where: str, url: bool) -> Program:
    """Compiles `author` (the template with markers) and puts the values of `source` in as literals."""
    environment = _environment(url)
    try:
        tree = environment.parse(author)
        names = meta.find_undeclared_variables(tree)
        _fill(tree, source)
        render = _renderer(environment, tree, where, url)
    except jinja2.TemplateSyntaxError as error:
        reason = unmark_names(error.message or str(error), source)
        raise ConfigError(f"{where}: this template is wrong: {reason}") from None
    names = {name for name in names if not MARKER.fullmatch(name)}
    return Program(render, _Needs(tree, names - environment.globals.keys(), render))


def unmark_names(message: str, source: str) -> str:
    """Names the `${…}` where Jinja's message names our marker; never its value."""
    if not isinstance(source, Text):
        return message
    return MARKER.sub(lambda match: getattr(source.parts[int(match[1])], "source", "${…}"), message)


class _Environment(ImmutableSandboxedEnvironment):
    """Fields before methods: `order.items` is the field `items`, not the method of a dict."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, _Unknown):
            return obj
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return obj if isinstance(obj, _Unknown) else super().getitem(obj, argument)


@cache
def _environment(url: bool) -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        finalize=_url_text if url else _plain_text,
    )
    for name in ("lipsum", "cycler", "joiner"):
        del environment.globals[name]
    environment.filters["tojson"] = _to_json
    environment.filters["b64encode"] = lambda v: base64.b64encode(to_text(v).encode()).decode()
    if url:
        environment.filters["urlencode"] = lambda v: Markup(quote(to_text(v), safe=""))  # noqa: S704 - not HTML
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own escapes `<` and `&` for HTML, which is not where this goes."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _plain_text(value: Any) -> Any:
    return value if isinstance(value, jinja2.Undefined) else to_text(value)


def _url_text(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined | Markup):
        return value
    return quote(to_text(value), safe="", errors="surrogateescape")


def _fill(tree: nodes.Template, source: str) -> None:
    """Replaces the markers by the values they stand for, as literals: a value is never parsed."""
    for data in tree.find_all(nodes.TemplateData):
        data.data = unmark(data.data, source)
    for const in tree.find_all(nodes.Const):
        if isinstance(const.value, str):
            const.value = unmark(const.value, source)
    _fill_names(tree, source)


def _fill_names(node: nodes.Node, source: str) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_filled(v, source) for v in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _filled(value, source))
    for child in node.iter_child_nodes():
        _fill_names(child, source)


def _filled(node: Any, source: str) -> Any:
    if isinstance(node, nodes.Name) and MARKER.fullmatch(node.name):
        return nodes.Const(unmark(node.name, source), lineno=node.lineno, environment=node.environment)
    return node


def _single(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of a template that is nothing else (spaces around it do not count)."""
    if not all(isinstance(node, nodes.Output) for node in tree.body):
        return None
    parts = [part for node in tree.find_all(nodes.Output) for part in node.nodes]
    parts = [p for p in parts if not (isinstance(p, nodes.TemplateData) and not p.data.strip())]
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def _renderer(environment: _Environment, tree: nodes.Template, where: str, url: bool) -> Render:
    single = None if url else _single(tree)
    if single is None:
        return _guarded(_texts(environment.from_string(tree)), where)
    target = nodes.Name(_RESULT, "store", lineno=1)
    body: list[nodes.Node] = [nodes.Assign(target, single, lineno=1)]
    program = nodes.Template(body, lineno=1)
    program.set_environment(environment)
    return _guarded(_value(environment.from_string(program)), where)


def _texts(template: jinja2.Template) -> Render:
    return lambda scope: "".join(template.root_render_func(template.new_context(scope)))  # type: ignore[arg-type]


def _value(template: jinja2.Template) -> Render:
    def render(scope: Scope) -> Any:
        context = template.new_context(scope)  # type: ignore[arg-type]
        for _ in template.root_render_func(context):
            pass
        return _defined(context.vars[_RESULT])

    return render


def _defined(value: Any) -> Any:
    """Undefined values raise when they are used; one that is the whole result has to be used here."""
    if isinstance(value, jinja2.Undefined):
        str(value)
    if isinstance(value, list | tuple):
        for part in value:
            if isinstance(part, jinja2.Undefined):
                str(part)
    return str(value) if isinstance(value, Markup) else value


def _guarded(render: Render, where: str) -> Render:
    def guarded(scope: Scope) -> Any:
        try:
            return render(scope)
        except jinja2.UndefinedError as error:
            name = _missing_name(error.message or "")
            raise TemplateError(f"{where}: `{name}` is missing", name=name) from None
        except TemplateError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an expression does to values that do not fit
            raise TemplateError(f"{where}: {type(error).__name__}: {error}") from None

    return guarded


def _missing_name(message: str) -> str:
    match = _UNDEFINED.search(message)
    return message if match is None else match[1] if match[1] is not None else match[2]


class _Needs:
    """What a template needs: what it always looks up, and whether a branch may look up more."""

    def __init__(self, tree: nodes.Template, names: set[str], render: Render) -> None:
        finder = _Finder()
        finder.statements(tree.body)
        paths = [path for path in finder.sure if path[0] in names]
        self._sure = Check(paths)
        self._unsure = frozenset(names - {path[0] for path in paths} - ALWAYS)
        self._unsure_paths = finder.unsure_paths
        self._render = render

    def __call__(self, payload: Mapping[str, Any], known: Collection[str]) -> list[str]:
        if missing := self._sure(payload, known):
            return missing
        if not self._unsure_paths and all(n in payload or n in known for n in self._unsure):
            return []
        name = probe(self._render, payload, known)
        return [] if name is None else [name]


def probe(render: Render, payload: Mapping[str, Any], known: Collection[str], secrets: Any = None) -> str | None:
    """Render it with what is known; names whose value is not known yet accept everything. The name that is missing."""
    unknown = _Unknown()
    item = {"number": unknown, "key": unknown, "payload": payload, "file": unknown}
    names = dict.fromkeys([*known], unknown) | dict(payload) | dict.fromkeys(ALWAYS, unknown)
    if "key" in payload:
        names["key"] = payload["key"]
    if secrets is not None:
        names["secrets"] = secrets
    try:
        render(names | {"item": item})
    except TemplateError as error:
        return error.name
    return None


class _Tolerant(dict[Any, Any]):
    """Under a key that is not known yet is a value that is not known yet; the key "17" is found for the number 17."""

    def __getitem__(self, key: Any) -> Any:
        return key if isinstance(key, _Unknown) else super().__getitem__(key)

    def __missing__(self, key: Any) -> Any:
        if isinstance(key, int) and str(key) in self:
            return self[str(key)]
        raise KeyError(key)


def tolerant(secrets: Mapping[str, Any]) -> Any:
    """The secrets as `probe` takes them."""
    return _Tolerant({name: tolerant(v) if isinstance(v, Mapping) else v for name, v in secrets.items()})


class _Finder:
    """Walks a template and notes the paths it looks up whatever the data is, and whether it branches."""

    def __init__(self) -> None:
        self.sure: list[tuple[str, ...]] = []
        self.unsure_paths = False

    def statements(self, body: list[nodes.Node]) -> None:
        for node in body:
            if isinstance(node, nodes.Output):
                for part in node.nodes:
                    self.expression(part)
            elif isinstance(node, nodes.If):
                self.expression(node.test)
                self._maybe(*node.body, *node.elif_, *node.else_)
            elif isinstance(node, nodes.For):
                self.expression(node.iter)
                self._maybe(*node.body, *node.else_)
            elif isinstance(node, nodes.Assign):
                self.expression(node.node)
            else:
                self._maybe(node)

    def expression(self, node: nodes.Node) -> None:
        if (path := _path(node)) is not None:
            self.sure.append(path)
            return
        match node:
            case nodes.Call(node=nodes.Getattr(node=owner)):  # a method: `name.upper()` looks up `name` only
                for child in (owner, *node.args, *node.kwargs):
                    self.expression(child)
            case nodes.Filter(name=name) if name in _GUARDS:
                self._maybe(*node.iter_child_nodes())
            case nodes.Test(name=name) if name in _DEFINED:
                self._maybe(node.node)
            case nodes.CondExpr():
                self.expression(node.test)
                self._maybe(node.expr1, *([node.expr2] if node.expr2 else []))
            case nodes.And() | nodes.Or():
                self.expression(node.left)
                self._maybe(node.right)
            case _:
                for child in node.iter_child_nodes():
                    self.expression(child)

    def _maybe(self, *children: nodes.Node) -> None:
        for child in children:
            if any(_path(found) and len(_path(found) or ()) > 1 for found in _with_descendants(child)):
                self.unsure_paths = True


def _with_descendants(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    yield from node.find_all((nodes.Getattr, nodes.Getitem))


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """`a.b["c"]` → ("a", "b", "c"); None for anything else."""
    match node:
        case nodes.Name(ctx="load"):
            return (node.name,)
        case nodes.Getattr():
            below = _path(node.node)
            return (*below, node.attr) if below else None
        case nodes.Getitem(arg=nodes.Const(value=str(name))):
            below = _path(node.node)
            return (*below, name) if below else None
    return None


class _Unknown:
    """Stands for a value that an item will have when it runs; agrees with everything."""

    def _same(self, *_: Any, **__: Any) -> _Unknown:
        return self

    __call__ = __getitem__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _same
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __rmod__ = __neg__ = _same

    def __str__(self) -> str:
        return "unknown"

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 1

    def __int__(self) -> int:
        return 1

    def __float__(self) -> float:
        return 1.0

    def __contains__(self, _: object) -> bool:
        return True

    def __lt__(self, _: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__
