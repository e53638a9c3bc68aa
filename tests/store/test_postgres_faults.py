"""A connection that is lost at any statement, COMMIT's answer included: no outcome is lost, none is stored twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest
from msgspec.structs import replace
from postgres_proxy import Cut, proxied
from postgres_server import cluster

from batchctl.engines import postgres
from batchctl.engines.again import again, snapshot
from batchctl.engines.base import Tx
from batchctl.errors import InvalidInput, StoreError, StoreInterrupted
from batchctl.store import Store
from store.kit import Worker, completed, load, scope

_T = TypeVar("_T")


def surely(act: Callable[[], _T]) -> _T:
    return again(act)()


def work(store: Store) -> int:
    """Enqueue, claim, complete, put off, cancel what is left; the batch's number."""
    no = load(store, 4)[0]
    worker = Worker(store, "w1", scope("p"))
    one, two = surely(lambda: worker.claim(2))
    assert len(surely(lambda: worker.complete(one))) == 1
    assert len(surely(lambda: worker.put_off(two, until=store.engine.now() + 60_000))) == 1
    store.pause([no], None, "ann")
    store.resume([no], "ann")
    assert store.cancel_batch(no, "ann") == 3
    return no


@pytest.mark.slow
def test_a_connection_is_lost_at_every_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with (
        cluster().database(tcp=True) as url,
        proxied(url) as (proxy, way),
        psycopg.connect(url, autocommit=True) as eyes,
    ):

        def trial(at: int | None, how: Cut) -> int:
            store = Store.open(way, create=False)
            proxy.arm(at, how)
            try:
                no = work(store)
            finally:
                proxy.arm(None)
                store.close()
            counts = eyes.execute(
                "SELECT status, total_items, completed_items, cancelled_items FROM batches WHERE no = %s", (no,)
            ).fetchone()
            assert counts == ("cancelled", 4, 1, 3)
            states = eyes.execute("SELECT state FROM items WHERE batch_no = %s ORDER BY id", (no,)).fetchall()
            assert [state for (state,) in states] == ["completed", "cancelled", "cancelled", "cancelled"]
            tries = eyes.execute(
                "SELECT a.outcome FROM attempts a JOIN items i ON i.id = a.item_id WHERE i.batch_no = %s ORDER BY i.id",
                (no,),
            ).fetchall()
            assert tries == [("completed",), ("retry",)]
            told = eyes.execute("SELECT event FROM events WHERE batch_no = %s ORDER BY id", (no,)).fetchall()
            assert [event for (event,) in told] == ["enqueued", "paused", "resumed", "cancel", "cancelled"]

        store = Store.open(way, create=False)
        proxy.arm(None)
        work(store)
        store.close()
        count = proxy.requests
        assert count > 60
        for how in Cut:
            for at in range(1, count + 1):
                trial(at, how)
        assert proxy.cuts == 2 * count
        assert eyes.execute("SELECT count(*) FROM batches WHERE status = 'loading'").fetchone() == (0,)


def test_nothing_is_stored_where_a_write_ends_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url:
        engine = postgres.PostgresEngine(url)
        try:
            with pytest.raises(StoreInterrupted):
                _raise_and_be_killed(engine, url)
            with engine.read() as tx:
                assert tx.value("control_number") == 0
            with engine.write() as tx:
                tx.run("raise_control")
            with engine.read() as tx:
                assert tx.value("control_number") == 1
        finally:
            engine.close()


@pytest.mark.parametrize("question", ["alive", "read"])
def test_a_question_does_not_bring_a_lost_write_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """What follows must not be stored without what came before it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url:
        engine = postgres.PostgresEngine(url)

        def ask() -> None:
            if question == "alive":
                assert not engine.alive("nobody")
            else:
                with suppress(StoreInterrupted), engine.read() as tx:
                    tx.value("control_number")

        def act() -> None:
            with engine.write() as tx:
                tx.run("raise_control")
                cluster().execute(_kill_all(url))
                ask()
                tx.run("raise_control")

        with pytest.raises(StoreInterrupted):
            act()
        with engine.read() as tx:
            assert tx.value("control_number") == 0
        engine.close()


def test_a_snapshot_that_is_lost_is_asked_for_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is put together from two of them, nor by a question inside of it that asks again by itself."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url:
        engine = postgres.PostgresEngine(url)
        seen: list[int] = []

        def raise_it() -> None:
            other = postgres.PostgresEngine(url)
            with other.write() as tx:
                tx.run("raise_control")
            other.close()

        def ask(tx: Tx) -> tuple[int, int]:
            first = tx.value("control_number")
            seen.append(first)
            if len(seen) == 1:
                cluster().execute(_kill_all(url))
                raise_it()
            return first, snapshot(engine, lambda tx: int(tx.value("control_number")))

        assert snapshot(engine, ask) == (1, 1)
        assert seen == [0, 1]
        engine.close()


def test_a_statement_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has changed nothing, and is done again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url, psycopg.connect(url) as other:
        engine = postgres.PostgresEngine(url)
        tries: list[str] = []
        other.execute("LOCK TABLE processors IN EXCLUSIVE MODE")

        @again
        def act() -> None:
            with engine.write() as tx:
                tries.append("")
                tx.run("raise_control")
                if len(tries) == 1:
                    engine._session.get().execute("SET LOCAL statement_timeout = '50ms'")
                    try:
                        tx.run("ensure_processor", {"processor": "p"})
                    except psycopg.errors.QueryCanceled as error:
                        tries[0] = error.sqlstate or ""
                        other.rollback()
                        raise
                tx.run("ensure_processor", {"processor": "p"})

        act()
        assert tries == ["57014", ""]
        with engine.read() as tx:
            assert tx.value("control_number") == 1
        engine.close()


def test_a_session_that_is_not_ours_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a pooler that gives each transaction another session: to do it again would not help."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url:
        engine = postgres.PostgresEngine(url)
        for _ in range(9):  # until it is prepared
            snapshot(engine, lambda tx: tx.value("control_number"))
        engine._session.get().execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
        with pytest.raises(StoreError, match="another session than ours") as told, engine.read() as tx:
            tx.value("control_number")
        assert "pool_mode = session" in (told.value.hint or "")
        engine.close()


def test_a_deadlock_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url:
        first, second = postgres.PostgresEngine(url), postgres.PostgresEngine(url)
        with first.write() as tx:
            for name in ("a", "b"):
                tx.run("ensure_processor", {"processor": name})
        meet = threading.Barrier(2)
        tries: list[str] = []

        def lock(engine: postgres.PostgresEngine, *names: str) -> None:
            with engine.write(shared=True) as tx:
                tries.append(names[0])
                tx.run("pause_processor", {"processor": names[0], "until": None})
                if len(tries) <= 2:
                    meet.wait(20)
                tx.run("pause_processor", {"processor": names[1], "until": None})

        other = threading.Thread(target=again(lock), args=(second, "b", "a"))
        other.start()
        again(lock)(first, "a", "b")
        other.join(30)
        assert len(tries) > 2  # one of them was the victim
        first.close()
        second.close()


def test_nul_characters_of_output_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with cluster().database() as url, psycopg.connect(url, autocommit=True) as eyes:
        store = Store.open(url, create=False)
        load(store, 2)
        worker = Worker(store, "w1", scope("p"))
        one, two = worker.claim(2)
        worker.record(replace(completed(one, store.engine.now()), log="a\0b"))
        worker.fail(two, message="bad\0bytes")
        assert eyes.execute("SELECT text FROM attempt_logs").fetchall() == [("a\ufffdb",)]
        assert eyes.execute("SELECT error_message FROM item_results WHERE result IS NULL").fetchall() == [
            ("bad\ufffdbytes",)
        ]
        for count in (0, 99):
            with pytest.raises(InvalidInput, match="NUL"):
                load(store, ["a\0b", *(f"c{n}" for n in range(count))])
        load(store, 60)
        for item in (many := worker.claim(60)):
            assert item.key.startswith("k")
        assert len(worker.fail(*many, message="\0")) == 60
        store.close()


def _raise_and_be_killed(engine: postgres.PostgresEngine, url: str) -> None:
    with engine.write() as tx:
        tx.run("raise_control")
        cluster().execute(_kill_all(url))
        tx.run("raise_control")


def _kill_all(url: str) -> str:
    name = urlsplit(url).path.strip("/")
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608
