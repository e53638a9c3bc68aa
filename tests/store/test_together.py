"""Several connections at once: nobody gets what another one holds, and the counts are right in the end."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from databases import Database

from batchctl.store import Store
from batchctl.transitions import bulk
from batchctl.transitions.recovering import release_worker
from store.kit import Worker, load, scope

Peek = Callable[..., list[tuple[Any, ...]]]
ITEMS = 120


class Drain(threading.Thread):
    """A worker that completes, fails, puts off and gives back, and now and then dies and is recovered."""

    def __init__(self, database: Database, number: int, done: threading.Event, mine: Counter[int]) -> None:
        super().__init__(daemon=True)
        self.database, self.number, self.done, self.mine = database, number, done, mine
        self.dice = random.Random(number)  # noqa: S311 - dice, not secrets
        self.error: BaseException | None = None

    def run(self) -> None:
        store = self.database.open()
        try:
            worker = Worker(store, f"w{self.number}", scope("p", "q"))
            while not self.done.is_set():
                self.turn(store, worker)
        except BaseException as error:  # noqa: BLE001 - told by the test's thread
            self.error = error
        finally:
            store.close()

    def turn(self, store: Store, worker: Worker) -> None:
        items = worker.claim(self.dice.randint(1, 9))
        suspect = worker.claim_suspect() if not items else None
        items += [suspect] if suspect else []
        for item in items:
            match self.dice.randrange(8):
                case 0:
                    worker.fail(item)
                case 1:
                    worker.put_off(item, until=store.engine.now())
                case 2:
                    worker.give_back(item)
                case 3:
                    begun = frozenset({(item.number, item.claim_no)})
                    release_worker(store.engine, worker.id, begun, 1_000)
                    assert worker.complete(item) == []
                case _:
                    self.mine.update(one.item_id for one in worker.complete(item))


def test_workers_people_and_recovery_at_once(database: Database, peek: Peek) -> None:
    store, done = database.open(), threading.Event()
    nos = load(store, ITEMS // 2, options={"split": 20}) + load(store, ITEMS // 2, processor="q", organization="acme")
    completed: Counter[int] = Counter()
    drains = [Drain(database, number, done, completed) for number in (1, 2, 3)]
    for drain in drains:
        drain.start()
    dice = random.Random(7)  # noqa: S311 - dice, not secrets
    for _ in range(25):
        no = dice.choice(nos)
        store.pause([no], None, "ann")
        store.cancel_batch(no, "ann")
        store.retry(no, "ann", states={"failed", "cancelled"})
        store.resume([no], "ann")
        bulk.finish_interrupted(store.engine)
    while peek("SELECT 1 FROM batches WHERE completed_at IS NULL") and all(drain.is_alive() for drain in drains):
        drains[0].join(0.02)
    done.set()
    for drain in drains:
        drain.join()
        assert drain.error is None
    store.close()
    states = Counter(state for (state,) in peek("SELECT state FROM items"))
    assert sum(states.values()) == ITEMS
    assert set(states) <= {"completed", "failed", "cancelled"}
    assert set(completed.values()) == {1}  # a completed item is never run again
    assert len(completed) == states["completed"]
    totals = "sum(completed_items), sum(failed_items), sum(cancelled_items)"
    assert peek(f"SELECT {totals} FROM batches") == [  # noqa: S608 - words from here
        (states["completed"], states["failed"], states["cancelled"])
    ]
