"""A worker's place among the others: its row, its kernel lock, its in-flight file, its folder."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

from batchctl import hosts
from batchctl.engines.again import again
from batchctl.engines.base import Engine, Presence, Tx
from batchctl.errors import StoreError, StoreFull, StoreInterrupted, StoreReadOnly
from batchctl.inflight import InFlight
from batchctl.transitions.recovering import hand_back


class Membership:
    """Holds its lock as soon as it is made. Enter it to join, leave it to go; a `kill -9` leaves the row, the files and
    a free lock for recovery.

    Raises StoreError where the files beside the store can't be made.
    """

    def __init__(
        self,
        engine: Engine,
        lease: float,
        concurrency: int,
        processors: list[str],
        roots: Sequence[str] = (),
        bounds: str | None = None,
    ) -> None:
        self.id = "w" + secrets.token_hex(8)
        self.folder = engine.private_folder() / self.id
        self._marks = engine.private_folder() / f"{self.id}.inflight"
        self._engine = engine
        self._lease = lease
        self._concurrency = concurrency
        self._processors = processors
        self._roots = roots
        self._bounds = bounds
        self._presence: Presence | None = None
        with self._made():
            self._presence = engine.presence(self.id)  # first: files of a name that nobody holds are taken away
            self.inflight = InFlight(self._marks, create=True)

    def __enter__(self) -> Membership:
        with self._made():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._join()
        return self

    @again
    def _join(self) -> None:
        with self._engine.write(shared=True) as tx:
            self._insert(tx)

    @contextmanager
    def _made(self) -> Iterator[None]:
        """Nothing stays behind where joining fails."""
        try:
            yield
        except OSError as error:
            self._clear()
            raise _unusable(error) from error
        except BaseException:
            self._clear()
            raise

    def _insert(self, tx: Tx) -> None:
        host = hosts.here()
        tx.run(
            "insert_worker",
            {
                "id": self.id,
                "host": host.name,
                "boot_id": host.boot_id,
                "pid_namespace": host.pid_namespace,
                "pid": os.getpid(),
                "pid_started": hosts.start_time(os.getpid()),
                "command": " ".join(sys.argv[1:2]) or "run",
                "concurrency": self._concurrency,
                "processors": json.dumps(self._processors),
                "lease_ms": round(self._lease * 1000),
                "roots": json.dumps(list(self._roots)),
                "scope": self._bounds,
                "now": self._engine.now(),
                "monotonic": hosts.monotonic_ms(),
            },
        )

    def beat(self, tx: Tx) -> bool:
        """Show that we live. False where somebody has declared us dead; then we are entered anew. Raises StoreTooNew
        where a newer program has upgraded the store: what we know of it may be wrong now."""
        self._engine.check_version()
        if tx.run("heartbeat", {"id": self.id, "now": self._engine.now(), "monotonic": hosts.monotonic_ms()}):
            return True
        self._insert(tx)
        return False

    def describe(self, tx: Tx, concurrency: int, processors: list[str], roots: Sequence[str]) -> None:
        """What we take has changed."""
        self._concurrency, self._processors, self._roots = concurrency, processors, roots
        row = {"id": self.id, "concurrency": concurrency, "processors": json.dumps(processors)}
        tx.run("describe_worker", row | {"roots": json.dumps(list(roots))})

    def compare(self, tx: Tx, ours: set[int]) -> tuple[set[int], list[tuple[int, int]]]:
        """(numbers that we have in hand but that are not ours any more, (number, claim) of what the store says is ours
        but we do not know)"""
        held: dict[int, int] = dict(tx.all("held_by_worker", {"worker_id": self.id}))
        unknown = [(number, claim_no) for number, claim_no in held.items() if number not in ours]
        return ours - set(held), unknown

    def told_to_cancel(self, tx: Tx, ours: Iterable[int]) -> list[int]:
        """Which of our items somebody wants cancelled."""
        return [number for (number,) in tx.all("cancel_told", {"ids": json.dumps(list(ours))})]

    def release(self, unknown: list[tuple[int, int]]) -> None:
        """Give back what the store says we hold and we do not know."""
        if unknown:
            hand_back(self._engine, self.id, unknown)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inflight.close()
        try:
            with suppress(StoreInterrupted):  # then recovery takes the row away
                self._go()
        finally:
            self._clear()

    def _go(self) -> None:
        with self._engine.write(shared=True) as tx:
            if not tx.all("held_by_worker", {"worker_id": self.id}):
                tx.run("delete_worker", {"id": self.id})

    def _clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._marks.unlink(missing_ok=True)
        if self._presence is not None:
            self._presence.leave()


def _unusable(error: OSError) -> StoreError:
    where = error.filename or "the folder beside the store"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{where}: no space left on its disk", hint="free some space, then run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreReadOnly(f"{where}: may not be written", hint="check the owner and mode of the store's folder")
    return StoreError(f"{where}: {error.strerror}", hint="check the folder beside the store and its disk")
