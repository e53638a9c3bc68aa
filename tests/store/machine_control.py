"""The rules of what people and crashes do: deaths, cancels, retries, recoveries, gates, the same thing again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from batchctl.errors import DuplicateBatch
from batchctl.model import ItemError
from batchctl.store import EVERYTHING
from batchctl.transitions import bulk, loading, recovering
from batchctl.transitions.processors import break_processor, mend_changed
from store import kit
from store.machine_store import WORKERS
from store.machine_work import GATES, MAX_CRASHES, PROCESSORS, Healthy, PowerCut, WorkMachine
from store.reference import Batch, Task


class ControlMachine(WorkMachine):
    """Work, and what is done to it."""

    @rule(name=st.sampled_from(WORKERS), reboot=st.booleans(), data=st.data())
    def worker_dies(self, name: str, reboot: bool, data: st.DataObject) -> None:
        held = list(self.hands[name].values())
        begun = {item.number for item in held if data.draw(st.booleans(), label=f"{item.number} was begun")}
        self._die(name, None if reboot else begun)

    def _die(self, name: str, begun: set[int] | None) -> None:
        """`begun`: the items that it had started; None: the machine went down."""
        held = list(self.hands[name].values())
        marks = None
        if begun is not None:
            marks = frozenset((item.number, item.claim_no) for item in held if item.number in begun)
        count = recovering.release_worker(self.engine, name, marks, MAX_CRASHES)
        assert count == self.reference.release(name, begun, MAX_CRASHES)
        self.lost += [(name, item) for item in held]
        self.hands[name].clear()

    @rule(name=st.sampled_from(WORKERS), data=st.data())
    def worker_does_not_know(self, name: str, data: st.DataObject) -> None:
        held = [item for item in self.hands[name].values() if data.draw(st.booleans())]
        recovering.hand_back(self.engine, name, [(item.number, item.claim_no) for item in held])
        self.reference.record(name, [kit.given_back(item, self.now()) for item in held])
        for item in held:
            self.lost.append((name, self.hands[name].pop(item.number)))

    # -- people

    @rule(data=st.data(), cut=st.sampled_from([None, None, 1, 2, 3]))
    def cancel_batch(self, data: st.DataObject, cut: int | None) -> None:
        batch = self.some_batch(data)
        if batch.finished:
            assert self.store.cancel_batch(batch.no, "ann") == 0
            return
        with self._power_cut(cut) as happened:
            count = self.store.cancel_batch(batch.no, "ann")
        self.reference.begin_cancel(batch)
        if happened():
            self._adopt(batch, {"pending", "waiting"}, lambda task: task.become("cancelled"))
        else:
            assert count == self.reference.end_cancel(batch)

    @rule(data=st.data())
    def cancel_items(self, data: st.DataObject) -> None:
        tasks = self.some_tasks(data, list(self.reference.tasks.values()))
        ended = self.store.cancel_items([task.id for task in tasks], "ann")
        assert ended == self.reference.cancel_tasks(tasks)

    @rule(
        data=st.data(),
        states=st.sampled_from([{"failed"}, {"failed", "cancelled"}]),
        how=st.sampled_from(["all", "all", "some", "payloads"]),
        cut=st.sampled_from([None, None, 1, 2, 3]),
    )
    def retry(self, data: st.DataObject, states: set[str], how: str, cut: int | None) -> None:
        batch = self.some_batch(data)
        chosen = [task for task in batch.tasks if task.state in states]
        some = self.some_tasks(data, batch.tasks) if how != "all" else batch.tasks
        chosen = [task for task in chosen if task in some]
        self.serial += 1
        payloads = {task.key: f'{{"again": {self.serial}}}' for task in some} if how == "payloads" else None
        ids = [task.id for task in some] if how == "some" else None
        if batch.bulk is not None:  # it finishes first what was interrupted
            self._finish_interrupted(batch)
            chosen, cut = [task for task in some if task.state in states], None
        with self._power_cut(cut) as happened:
            count = self.store.retry(batch.no, "ann", states=states, item_ids=ids, payloads=payloads)
        if not chosen:
            assert not happened()
            assert count == 0
            return
        self.reference.begin_retry(batch, some, states)
        if happened():
            self._adopt(batch, {"failed", "cancelled"}, lambda task: self.reference.reopen(task, payloads))
            if payloads:
                batch.wanted = frozenset()  # the payloads went with the process
        else:
            assert count == len(chosen)
            self.reference.end_retry(batch, payloads)

    @contextmanager
    def _power_cut(self, after: int | None) -> Iterator[Callable[[], bool]]:
        """The process dies before its write number `after` + 1."""
        whole, count, happened = self.engine.write, 0, False

        @contextmanager
        def write(*, shared: bool = False) -> Iterator[Any]:
            nonlocal count
            count += 1
            if after is not None and count > after:
                raise PowerCut
            with whole(shared=shared) as tx:
                yield tx

        self.engine.write = write  # type: ignore[method-assign]
        try:
            yield lambda: happened
        except PowerCut:
            happened = True
        finally:
            self.engine.write = whole  # type: ignore[method-assign]

    def _adopt(self, batch: Batch, leaving: set[str], change: Callable[[Task], None]) -> None:
        """How far an interrupted act came is its own business; that it did nothing else is not."""
        states = dict(self.eyes("SELECT id, state FROM items WHERE batch_no = ?", batch.no))
        for task in batch.tasks:
            if states[task.id] != task.state and task.state in leaving:
                change(task)

    @rule()
    def recover(self) -> None:
        """What interrupted acts and dead loads left behind is finished."""
        assert bulk.finish_interrupted(self.engine) == sum(b.bulk is not None for b in self.reference.batches.values())
        for batch in self.reference.batches.values():
            self._finish_interrupted(batch)
        loading.abort_abandoned(self.engine)
        assert not self.eyes("SELECT 1 FROM batches WHERE status IN ('loading', 'deleting')")

    def _finish_interrupted(self, batch: Batch) -> None:
        if batch.bulk == "cancel":
            self.reference.end_cancel(batch)
        elif batch.bulk == "retry":
            self.reference.end_retry(batch)

    @rule(data=st.data(), gate=st.sampled_from(GATES), until=st.sampled_from([None, 1_000, 60_000]))
    def gates_move(self, data: st.DataObject, gate: str, until: int | None) -> None:
        batch, name = self.some_batch(data), data.draw(st.sampled_from([*PROCESSORS, EVERYTHING]), label="processor")
        match gate:
            case "pause":
                self._pause_batch(batch, until)
            case "resume":
                assert self.store.resume([batch.no], "ann") == batch.paused
                batch.paused, batch.paused_until = False, None
            case "pause processor":
                self.store.pause_processor(name, self.later(until), "ann")
                self.reference.paused[name] = self.later(until)
            case "resume processor":
                self._resume(name)
            case "resume all":
                self._resume(EVERYTHING)
            case "break" | "mend" if name != EVERYTHING:
                self._break_or_mend(name, mend=gate == "mend")
            case "priority":
                priority = data.draw(st.sampled_from([kit.HIGH, kit.NORMAL, kit.LOW]))
                self.store.alter(batch.no, "ann", priority=priority)
                batch.priority = int(priority)
            case "schedule":
                batch.not_before = self.later(data.draw(st.sampled_from([None, -5, 1_000, 60_000])))
                self.store.alter(batch.no, "ann", not_before=batch.not_before)

    def _pause_batch(self, batch: Batch, until: int | None) -> None:
        assert self.store.pause([batch.no], self.later(until), "ann") == (not batch.finished)
        if not batch.finished:
            batch.paused, batch.paused_until = True, self.later(until)

    def _resume(self, name: str) -> None:
        self.store.resume_processor(name, "ann")
        reference = self.reference
        opened = {name, *reference.paused} if name == EVERYTHING else {name}
        reference.paused = {one: until for one, until in reference.paused.items() if one not in opened}
        reference.broken -= opened
        if name == EVERYTHING:
            for batch in reference.unfinished():
                batch.paused, batch.paused_until = False, None

    def _break_or_mend(self, name: str, *, mend: bool) -> None:
        if not self.eyes("SELECT 1 FROM processors WHERE name = ?", name):
            return
        with self.engine.write() as tx:
            if mend:
                mend_changed(tx, {name: Healthy()}, self.now(), mark_problems=True)
            else:
                break_processor(tx, name, ItemError("Unauthorized", "401"), "old config", self.now())
        (self.reference.broken.discard if mend else self.reference.broken.add)(name)

    @rule()
    def enqueue_the_same(self) -> None:
        """The same content is refused while it is unfinished; an idempotency key answers with its batch for ever."""
        self.serial += 1
        content, key = f"same {self.serial}", f"key {self.serial}"
        twin = kit.load(self.store, ["x"], content=content, idempotency_key=key)
        again = kit.begin(self.store, idempotency_key=key)
        again.add(kit.orders(["x"]))
        loaded = again.finish(content, again=False)
        assert (loaded.batch_nos, loaded.existing) == (twin, True)
        for act, what in ((kit.begin(self.store), content), (kit.begin(self.store, idempotency_key=key), "other")):
            act.add(kit.orders(["x"]))
            with pytest.raises(DuplicateBatch):
                act.finish(what, again=False)
        self.reference.add(Batch(twin[0], "p", "", 1, None), self._stored(twin[0]))

    def _stored(self, no: int) -> list[tuple[int, str, int, str]]:
        return self.eyes(
            "SELECT i.id, i.key, i.position, d.payload FROM items i JOIN item_data d ON d.item_id = i.id"
            " WHERE i.batch_no = ? ORDER BY i.id",
            no,
        )
