"""Items whose files are on other hosts are left to these, on every engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from batchctl.model import BatchKind, Incoming, Item, NewBatch
from batchctl.places import Place, Places, common, may_have
from batchctl.store import Store
from store.kit import Worker, scope


def enqueue(store: Store, paths: Sequence[str], processor: str = "p") -> int:
    loading = store.load(NewBatch(BatchKind.FILES, processor))
    loading.add([_file(n, path) for n, path in enumerate(paths, 1)])
    return loading.finish("".join(paths), again=True).batch_nos[0]


def _file(n: int, path: str) -> Incoming:
    folder, _, name = path.rpartition("/")
    facts = {"path": path, "name": name, "size": 1, "sha256": "0" * 64, "media_type": "text/plain"}
    return Incoming(path, n, "{}", path, True, json.dumps(facts), "0" * 64, folder=folder)


def on(store: Store, name: str, places: Places) -> Worker:
    worker = Worker(store, name, scope("p"))
    worker.claimer.whereabouts.places = places.seen()
    return worker


def take(worker: Worker, limit: int = 3) -> list[str]:
    """The keys that it claims for itself, as a worker does it."""
    while True:
        here, away = worker.claimer.whereabouts.sort_out(worker.claim(limit))
        leave(worker, away)
        if here or not away:
            return [item.key for item in here]


def leave(worker: Worker, away: list[Item]) -> None:
    if away:
        worker.give_back(*away)
        with worker.store.engine.read() as tx:
            worker.claimer.whereabouts.leave_alone(tx, away)


def look_around(worker: Worker) -> None:
    with worker.store.engine.read() as tx:
        worker.claimer.look_around(tx)


def drained(worker: Worker) -> list[str]:
    """All that it finds, claim by claim."""
    found: list[str] = []
    while keys := take(worker):
        found += keys
    return found


def test_a_batch_of_another_host_is_left_alone(store: Store, tmp_path: Path) -> None:
    foreign = enqueue(store, ["/nowhere/1", "/nowhere/2"])
    ours = tmp_path / "in"
    ours.mkdir()
    own = enqueue(store, [f"{ours}/1", f"{ours}/2"])
    worker = on(store, "w1", Places("one", (str(ours),)))
    assert take(worker) == [f"{ours}/1", f"{ours}/2"]
    assert take(worker) == []
    assert not worker.claimer.contended
    with store.engine.read() as tx:
        assert worker.claimer.whereabouts.elsewhere(tx) == ({foreign: None}, False)
        assert [row[0] for row in tx.all("outlook_unfinished") if row[6]] == [own]
    other = on(store, "w2", Places("two", ("/",)))
    assert take(other) == ["/nowhere/1", "/nowhere/2"]


def test_what_was_left_alone_costs_nothing(store: Store) -> None:
    enqueue(store, ["/nowhere/1"])
    assert take(on(store, "w1", Places("one", ("/none",)))) == []
    with store.engine.read() as tx:
        assert tx.all("view_attempts", {"id": 1}) == []
    (item,) = on(store, "w2", Places("two")).claim()
    assert (item.attempt, item.claim_no) == (1, 1)


def test_in_a_mixed_batch_each_takes_its_own(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    a, b = [[f"{tmp_path}/{name}/{n}" for n in range(20)] for name in ("a", "b")]
    no = enqueue(store, [*a, *b])
    first = on(store, "w1", Places("one", (str(tmp_path / "a"),)))
    second = on(store, "w2", Places("two", (str(tmp_path / "b"),)))
    assert drained(second) == b
    with store.engine.read() as tx:
        assert second.claimer.whereabouts.elsewhere(tx) == ({no: 20}, False)
    assert drained(first) == a


def test_interleaved_files_are_all_found(store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    paths = [f"{tmp_path}/{name}/{n}" for n in range(15) for name in ("a", "b")]
    enqueue(store, paths)
    first = on(store, "w1", Places("one", (str(tmp_path / "a"),)))
    second = on(store, "w2", Places("two", (str(tmp_path / "b"),)))
    assert drained(second) == paths[1::2]
    assert drained(first) == paths[::2]


def test_what_comes_back_before_the_others_files_is_found_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    enqueue(store, [f"{tmp_path}/a/1", f"{tmp_path}/b/1"])
    worker = on(store, "w1", Places("one", (str(tmp_path / "a"),)))
    items = worker.claim(3)
    here, away = worker.claimer.whereabouts.sort_out(items)
    leave(worker, away)
    assert len(here) == 1
    assert take(worker) == []
    worker.give_back(*here)
    with store.engine.read() as tx:
        assert worker.claimer.whereabouts.elsewhere(tx) == ({}, True)
    assert take(worker) == [f"{tmp_path}/a/1"]


def test_a_folder_that_appears_is_taken(store: Store, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    enqueue(store, [f"{disk}/1"])
    worker = on(store, "w1", Places("one", (str(disk),)))
    assert take(worker) == []
    disk.mkdir()
    look_around(worker)
    assert take(worker) == [f"{disk}/1"]


def test_without_roots_a_host_looks_for_each_file(store: Store, tmp_path: Path) -> None:
    here, gone = tmp_path / "1", tmp_path / "2"
    here.touch()
    enqueue(store, [str(gone), str(here)])
    own = on(store, "w1", Places(_host(store), shared=True))
    other = on(store, "w2", Places("other", shared=True))
    assert take(other) == [str(here)]
    assert take(other) == []
    assert take(own) == [str(gone)]  # who enqueued it can tell that it is gone


def _host(store: Store) -> str:
    with store.engine.read() as tx:
        return str(tx.all("batch_refs", {"nos": "[1]"})[0][10])


def test_a_suspect_whose_file_is_not_here_is_left_alone(store: Store, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    enqueue(store, [f"{tmp_path}/a/1", f"{tmp_path}/b/1"])
    with store.engine.write() as tx:
        for number in (1, 2):
            tx.run("mark_suspect", {"id": number, "alone": 0})
    worker = on(store, "w1", Places("one", (str(tmp_path / "b"),)))
    item = worker.claim_suspect()
    assert item
    here, away = worker.claimer.whereabouts.sort_out([item])
    assert (len(here), len(away)) == (0, 1)
    leave(worker, away)
    second = worker.claim_suspect()
    assert second
    assert second.key == f"{tmp_path}/b/1"
    with store.engine.read() as tx:
        assert not worker.claimer.suspect_waits(tx, worker.scope)


def test_the_group_of_others_stays_open(store: Store, tmp_path: Path) -> None:
    """Neither the group nor its turn is closed by somebody who has none of its files."""
    enqueue(store, ["/nowhere/1"])
    for _ in range(3):
        assert take(on(store, "w1", Places("one", (str(tmp_path),)))) == []
    assert take(on(store, "w2", Places("two"))) == ["/nowhere/1"]


@pytest.mark.parametrize(
    ("folder", "other", "both"),
    [(None, "/a", "/a"), ("/a/b", "/a/b", "/a/b"), ("/a/b", "/a", "/a"), ("/a", "/a/b", "/a"), ("/a/bc", "/a/b", "/a"),
     ("/", "/a", "/"), ("/a", "/b", "/")],
)  # fmt: skip
def test_the_folder_of_both(folder: str | None, other: str, both: str) -> None:
    assert common(folder, other) == both


def test_what_other_hosts_may_have() -> None:
    rooted = Places("one", ("/in", "/mnt/x"))
    assert may_have(rooted, "two", "/in/a") is True
    assert may_have(rooted, "two", "/inner") is False
    assert may_have(rooted, "two", "/mnt") is None
    assert may_have(rooted, "two", None) is True
    assert may_have(Places("one"), "one", "/x") is True
    assert may_have(Places("one"), "two", "/x") is None
    assert Places("one", ("/in",), present=("/in",)).batch("two", "/in/../etc") is Place.ELSEWHERE
