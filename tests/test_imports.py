"""The direction of imports, as docs/architecture.md has it: down only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "batchctl"

# module: its layer. Packages stand for all that is in them.
LAYERS = {
    "base": {
        "announce",
        "model",
        "errors",
        "inflight",
        "journal",
        "locate",
        "duration",
        "gcra",
        "guard",
        "adaptive",
        "handlers",
        "histogram",
        "hosts",
        "patterns",
        "places",
        "urls",
        "reserve",
        "reserved",
        "retry",
        "service",
        "batchctl",
    },
    "config": {"config", "template", "jinja", "masking"},
    "engines": {"engines"},
    "processors": {"processors"},
    "store": {"store", "transitions", "views"},
    "acts": {
        "alarm",
        "background",
        "contact",
        "guarding",
        "spool",
        "worker",
        "workplan",
        "claims",
        "commits",
        "item_files",
        "orders",
        "rounds",
        "signals",
        "pool",
        "inhand",
        "running",
        "interpreter",
        "membership",
        "notify",
        "outlook",
        "sinks",
        "filing",
        "porter",
        "recovery",
        "metrics",
        "orphans",
        "recorder",
        "checker",
        "idle",
        "idle_note",
        "alerts",
        "alerting",
        "pings",
        "retention",
        "schedule",
        "moving",
        "doctor",
        "intake",
        "export",
        "why",
    },
    "screen": {"console"},
    "entry": {"__main__", "cli", "commands"},
}
ALLOWED = {
    "base": {"base"},
    "config": {"base", "config"},
    "engines": {"base", "engines"},
    "processors": {"base", "config", "processors"},
    "store": {"base", "engines", "store"},
    "acts": {"base", "config", "engines", "processors", "store", "acts"},
    "screen": {"base", "screen"},
    "entry": set(LAYERS),
}
# What a command's words mean is one module, for the preview at enqueue and for the run.
EXCEPTIONS = {("processors", "intake.placeholders")}


def layer_of(module: str) -> str:
    top = module.partition(".")[0]
    found = [layer for layer, modules in LAYERS.items() if top in modules]
    assert found, f"{module} has no layer: give it one here and in docs/architecture.md"
    return found[0]


def imports_of(path: Path) -> set[str]:
    """What of ours a file imports, also inside functions: "store", "views.items"; names without `batchctl.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            names = [node.module or ""]
            if node.module == "batchctl":
                names = [f"batchctl.{alias.name}" for alias in node.names if alias.name != "__version__"]
        else:
            continue
        found |= {name.removeprefix("batchctl.") for name in names if name.startswith("batchctl.")}
    return found


# What `init` copies into a user's folder is no code of ours.
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "templates" not in path.parts)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "batchctl"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_down(path: Path) -> None:
    module = module_of(path)
    top = module.partition(".")[0]
    allowed = ALLOWED[layer_of(module)]
    wrong = [name for name in imports_of(path) if layer_of(name) not in allowed and (top, name) not in EXCEPTIONS]
    assert not wrong


KINDS = {"command", "http", "python"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "processors").glob("*.py")), ids=module_of)
def test_processors_do_not_know_one_another(path: Path) -> None:
    kind = path.stem.partition("_")[0]
    others = {f"processors.{name}" for name in KINDS - {kind}}
    makes_them = path.stem in ("__init__", "factory", "make")
    assert makes_them or kind not in KINDS or not others & imports_of(path)


DATABASES = {"sqlite3", "sqlite_utils", "psycopg"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_database_library_outside_the_engines(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert module_of(path).startswith("engines") or not names & DATABASES


def test_the_architecture_has_every_module() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {name for layer in LAYERS.values() for name in layer} - {"batchctl"}
    assert {module_of(path).partition(".")[0] for path in FILES} - {"batchctl"} == modules
    assert not [name for name in modules if not re.search(rf"`{name}(`|/\*`)", text)]


def test_only_the_console_prints() -> None:
    for path in FILES:
        if layer_of(module_of(path)) not in ("screen", "entry"):
            text = path.read_text(encoding="utf-8")
            assert "print(" not in text.replace("fingerprint(", "")
