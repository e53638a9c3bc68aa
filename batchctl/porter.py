"""Does what is to become of the files of final items: in the background of a drain, and in `check`."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from batchctl import filing
from batchctl.background import Background
from batchctl.engines.again import again
from batchctl.engines.base import Engine, Tx
from batchctl.filing import ElsewhereError, Left, Ready
from batchctl.intake.names import is_utf8, readable
from batchctl.journal import WARNING, log
from batchctl.retry import Backoff, pause_after
from batchctl.store import Store
from batchctl.transitions import file_acts
from batchctl.transitions.file_acts import FileAct

_PAGE = 200
_TOGETHER = 20  # files in one transaction: it holds up everybody else
_LOOK = 0.5  # seconds between looks
_BACKOFF = Backoff(base=60.0, factor=2.0, max=3600.0, jitter=0.1)
_LAST_WORDS = 60.0  # seconds for what is still to be done at the end


@dataclass(slots=True)
class Carried:
    """What came of it; `again`: to be looked at once more, now. `problems` are sentences about what failed for the
    first time, `kept` about what stays where it is for good."""

    done: int = 0
    failed: int = 0
    again: int = 0
    problems: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __iadd__(self, other: Carried) -> Self:
        self.done += other.done
        self.failed += other.failed
        self.again += other.again
        self.problems += other.problems
        self.kept += other.kept
        return self


def carry(engine: Engine, *, deadline: float | None = None, org: str | None = None) -> Carried:
    """Do all that is due on this host, for one organization's items where one is named; after the deadline
    (time.monotonic()) nothing more is begun."""
    total = Carried()
    while deadline is None or time.monotonic() < deadline:
        page = _due(engine, org)
        for start in range(0, len(page), _TOGETHER):
            if deadline is not None and time.monotonic() >= deadline:
                return total
            total += _Round(engine, page[start : start + _TOGETHER]).run()
        if len(page) < _PAGE and not total.again:
            break
        total.again = 0
    return total


@again
def _due(engine: Engine, org: str | None) -> list[FileAct]:
    with engine.read() as tx:
        return file_acts.due(tx, file_acts.host_of(engine), engine.now(), _PAGE, org)


class _Round:
    """A few acts: everything that takes long before the transaction, the renames in it."""

    def __init__(self, engine: Engine, acts: list[FileAct]) -> None:
        self._engine = engine
        self._acts = acts
        self._total = Carried()

    def run(self) -> Carried:
        prepared = {act: self._prepare(act) for act in self._acts}
        elsewhere = self._store(prepared)
        if elsewhere:  # renaming did not do: another file system behind the same number
            self._store({act: self._prepare(act, copy=True) for act in elsewhere})
        return self._total

    @staticmethod
    def _prepare(act: FileAct, *, copy: bool = False) -> Ready | Left | OSError:
        try:
            return filing.prepare(act.file, None if act.folder is None else Path(act.folder), act.item_id, copy=copy)
        except (Left, OSError) as problem:
            return problem

    @again
    def _store(self, prepared: Mapping[FileAct, Ready | Left | OSError]) -> list[FileAct]:
        """Returns those that must be copied."""
        came, elsewhere = Carried(), []
        changed: set[Path] = set()
        with self._engine.write() as tx:
            for act, ready in prepared.items():
                if not file_acts.still_due(tx, act):
                    continue
                try:
                    changed |= self._finish(tx, act, ready, came)
                except ElsewhereError:
                    elsewhere.append(act)
                except Left as left:
                    file_acts.left(tx, act, str(left), self._engine.now())
                    came.kept.append(f"item {act.item_id}: nothing was done with its file: {left}")
                except OSError as error:
                    self._put_off(tx, act, error, came)
            filing.settle(changed)
        self._total += came
        return elsewhere

    def _finish(self, tx: Tx, act: FileAct, ready: Ready | Left | OSError, came: Carried) -> set[Path]:
        if not isinstance(ready, Ready):
            raise ready
        try:
            changed = filing.finish(ready)
        except (FileExistsError, FileNotFoundError) as error:  # not as it was a moment ago: look again
            file_acts.put_off(tx, act, self._engine.now(), str(error))
            came.again += 1
            return set()
        file_acts.done(tx, act, _facts(act, ready.path))
        came.done += 1
        return changed

    def _put_off(self, tx: Tx, act: FileAct, error: OSError, came: Carried) -> None:
        pause = pause_after(act.attempts + 1, _BACKOFF)
        text = f"{readable(str(error.filename or act.file.path))}: {error.strerror}"
        file_acts.put_off(tx, act, self._engine.now() + round(pause * 1000), text)
        came.failed += 1
        if not act.attempts:
            came.problems.append(f"item {act.item_id}: its file could not be {_word(act)}: {text}; it is tried again")


def _word(act: FileAct) -> str:
    return "deleted" if act.folder is None else "moved"


def _facts(act: FileAct, path: Path | None) -> str | None:
    """The item's file, with the place where it is now."""
    if path is None or str(path) == act.file.path:
        return None
    facts = json.loads(act.facts) | {"path": readable(str(path))}
    facts.pop("raw", None)
    if not is_utf8(str(path)):
        facts["raw"] = base64.b64encode(os.fsencode(path)).decode()
    return json.dumps(facts, ensure_ascii=False)


class Porter:
    """A block that carries files while it lasts, and the rest at its end. `open_store` opens another connection, for
    its thread alone; `org` names the organization whose files it carries, None: everybody's; `total` says what came of
    it once the block has ended."""

    def __init__(self, open_store: Callable[[], Store], org: str | None = None) -> None:
        self._org = org
        self.total = Carried()
        self._background = Background("porter", open_store, self._look, every=_LOOK)

    def __enter__(self) -> Self:
        self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.end(once_more=True, patience=_LAST_WORDS)

    def _look(self, connection: Callable[[], Store]) -> None:
        came = carry(connection().engine, org=self._org)
        for text in (*came.problems, *came.kept):
            log(WARNING, "file", problem=text)
        self.total += came
