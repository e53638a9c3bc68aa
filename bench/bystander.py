"""A worker beside a bulk load: claims, heartbeats and cancels, and notes the longest wait of each.

`python -m bench.bystander STORE` goes on until its standard input ends, then prints milliseconds by kind as JSON. Its
first line says that it has begun.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

from batchctl.membership import Membership
from batchctl.store import Claimer, Scope, Store

PAUSE = 0.02
BATCH = 10


class Bystander:
    def __init__(self, store: Store, member: Membership) -> None:
        self.waits = {"claim": 0.0, "heartbeat": 0.0, "cancel": 0.0}
        self._store = store
        self._member = member
        self._claimer = Claimer(store.engine, member.id)
        self._scope = Scope(frozenset({"beside"}))
        self._held: list[int] = []

    def once(self) -> None:
        self._timed("claim", self._claim)
        self._timed("heartbeat", self._beat)
        self._timed("cancel", self._cancel)

    def _timed(self, kind: str, act: Callable[[], None]) -> None:
        began = time.perf_counter()
        act()
        self.waits[kind] = max(self.waits[kind], (time.perf_counter() - began) * 1000)

    def _claim(self) -> None:
        engine = self._store.engine
        with engine.write() as tx:
            self._held = [item.number for item in self._claimer.claim(tx, self._scope, BATCH, engine.now())]

    def _beat(self) -> None:
        with self._store.engine.write() as tx:
            self._member.beat(tx)

    def _cancel(self) -> None:
        self._store.cancel_items(self._held, "bench")


def _wait_for_the_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main(url: str) -> None:
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(over,), daemon=True).start()
    store = Store.open(url, create=False)
    with Membership(store.engine, 60.0, BATCH, ["beside"]) as member:
        bystander = Bystander(store, member)
        print("begun", flush=True)  # noqa: T201 - whoever started it waits for this
        while not over.wait(PAUSE):
            bystander.once()
    store.close()
    print(json.dumps(bystander.waits))  # noqa: T201 - its answer


if __name__ == "__main__":
    main(sys.argv[1])
