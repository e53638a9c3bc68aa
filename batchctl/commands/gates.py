"""What `pause` and `resume` are about: batches, a processor, or everything."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from batchctl.commands.common import Globals
from batchctl.commands.targets import batches_of
from batchctl.engines.again import snapshot
from batchctl.errors import ConfigError, InvalidInput, UsageError
from batchctl.store import EVERYTHING, Store


@dataclass(frozen=True)
class Gates:
    """Batches by number, or (where these are None) a processor's name, `*` for all. `what` names them for people."""

    store: Store
    what: str
    batch_nos: list[int] | None = None
    processor: str = EVERYTHING


def chosen(shared: Globals, names: Sequence[str] | None, processor: str | None, *, everything: bool) -> Gates:
    """Exactly one of the three ways to choose. Raises UsageError for none or several, NotFound for unknown
    batches, InvalidInput for an unknown processor."""
    if sum((bool(names), processor is not None, everything)) != 1:
        raise UsageError("name batches, or --processor P, or --all", hint="one of the three")
    if names:
        store, nos = batches_of(shared, names)
        return Gates(store, ", ".join(names), nos)
    store = shared.existing_store(processor or "--all")
    if processor is not None:
        return _of_processor(shared, store, processor)
    if shared.organization is not None:
        return Gates(store, f"all of {shared.organization}", shared.views(store).unfinished())
    return Gates(store, "everything")


def _of_processor(shared: Globals, store: Store, name: str) -> Gates:
    if shared.organization is not None:
        raise UsageError("--processor pauses it for every organization", hint="leave out --org, or name batches")
    known = {row[0] for row in snapshot(store.engine, lambda tx: tx.all("view_processor_names"))}
    with contextlib.suppress(ConfigError):  # the store knows those that have work
        known |= set(shared.config().processors)
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known)) or 'none'}"
        raise InvalidInput(f"no config here and no batch has a processor {name!r}", hint=hint)
    return Gates(store, f"processor {name}", processor=name)
