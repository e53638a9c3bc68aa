"""Promise 5: a processor that is broken closes its gate until its definition, a secret, or a person changes that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from batchctl.engines.base import Tx
from batchctl.model import ItemError
from batchctl.transitions.common import event


class Definition(Protocol):
    """What is looked at of a processor's config."""

    @property
    def problems(self) -> tuple[str, ...]: ...
    @property
    def fingerprint(self) -> str: ...


def break_processor(
    tx: Tx, name: str, error: ItemError, fingerprint: str, now: int, organization: str | None = None
) -> None:
    """Its items wait from now on. Once broken it stays as it is. `organization`: whose item found it so; None: the
    config says so."""
    row = {"processor": name, "now": now, "type": error.type, "message": error.message, "config": fingerprint}
    if tx.run("break_processor", row | {"organization": organization}):
        event(tx, "processor_broken", now, detail={"processor": name, "error": f"{error.type}: {error.message}"})


def mend_changed(tx: Tx, definitions: Mapping[str, Definition], now: int, *, mark_problems: bool) -> None:
    """Open the gates of processors whose config or secret differs from the broken one; with `mark_problems` shut
    those that this config can't run."""
    for name, _, _, broken_since, broken_config, _ in tx.all("processor_gates"):
        definition = definitions.get(name)
        if definition is None:
            continue
        if broken_since is not None and broken_config != definition.fingerprint and not definition.problems:
            tx.run("mend_processor", {"processor": name})
            event(tx, "processor_mended", now, detail={"processor": name})
        if mark_problems and broken_since is None and definition.problems:
            message = "; ".join(definition.problems)
            break_processor(tx, name, ItemError("NotConfigured", message), definition.fingerprint, now)
