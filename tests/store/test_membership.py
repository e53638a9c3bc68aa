"""Who joins while others tidy up keeps what it has made."""

from __future__ import annotations

import threading
from contextlib import closing

from databases import Database

from batchctl import recovery
from batchctl.membership import Membership


def test_nobody_takes_away_the_files_of_one_who_joins(database: Database) -> None:
    over = threading.Event()
    trouble: list[BaseException] = []

    def tidy_up() -> None:
        with closing(database.open()) as store:
            while not over.is_set():
                try:
                    recovery.tidy(store.engine)
                except BaseException as error:  # noqa: BLE001 - the test tells it
                    trouble.append(error)
                    return

    with closing(database.open()) as store:
        others = [threading.Thread(target=tidy_up) for _ in range(3)]
        for other in others:
            other.start()
        folder = store.engine.private_folder()
        try:
            for _ in range(50):
                with Membership(store.engine, 60.0, 1, ["p"]) as member:
                    assert (folder / f"{member.id}.inflight").exists()
                    assert (folder / f"{member.id}.lock").exists()
                    assert member.folder.is_dir()
        finally:
            over.set()
            for other in others:
                other.join()
    assert not trouble
    assert not list(folder.glob("*.inflight"))
