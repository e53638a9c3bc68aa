"""Views: the questions that commands ask."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from batchctl.engines.again import again
from batchctl.engines.base import Engine, Tx
from batchctl.errors import NotFound
from batchctl.views.batches import STATES, batch_json, counts
from batchctl.views.gates import Gate, Processors, gate_of, processors
from batchctl.views.items import attempt_json, item_json
from batchctl.views.resolve import storable

MaxAttempts = Callable[[str, str | None], int | None]
_NO_LIMIT = -1
_PLAIN = re.compile(r"[A-Za-z0-9 _.,:;@#=()-]+")  # what else is escaped depends on who wrote it: / < > & ' +, not ASCII
_BARE = re.compile(r"true|false|null|[0-9.eE-]+")  # may be no string
_HINT = 200  # characters: engines limit the length of a pattern
_BY_RANGE = ("view_item_ids_all", "view_item_ids_completed")  # no index has all of a batch's items in order


def _unknown(processor: str, definition: str | None) -> int | None:  # noqa: ARG001 - a MaxAttempts
    return None


class Views:
    """Answers over one connection. `org` hides every other organization.

    `max_attempts` tells from a processor's name and a batch's own definition how often an item is
    tried; None where no config here knows.
    """

    def __init__(self, engine: Engine, org: str | None = None, max_attempts: MaxAttempts = _unknown) -> None:
        self.engine = engine
        self.org = org
        self._max_attempts = max_attempts

    def batch(self, no: int) -> dict[str, Any]:
        """The contract's batch. Raises NotFound."""
        return self.batches_of([no])[0]

    @again
    def batches_of(self, nos: Collection[int]) -> list[dict[str, Any]]:
        """The same for several, in the order given."""
        with self.engine.read() as tx:
            now, gates = self.engine.now(), processors(tx, self.org)
            rows = [_batch_row(tx, no) for no in nos]
        return [batch_json(row, gate_of(row, gates, now), now) for row in rows]

    @again
    def list_batches(
        self,
        *,
        statuses: Sequence[str] = (),
        processor: str | None = None,
        since: int | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of the batches that fit, newest first, and how many fit in all. `since` in ms UTC."""
        where = {
            "org": self.org,
            "statuses": json.dumps(list(statuses)) if statuses else None,
            "processor": None if processor is None else storable(processor),
            "since": since,
        }
        with self.engine.read() as tx:
            total = tx.value("view_batch_total", where)
            nos = [row[0] for row in tx.all("view_batch_nos", where | {"limit": limit, "offset": offset})]
            return self.batches_of(nos), total

    @again
    def unfinished(self) -> list[int]:
        """The numbers of all batches that are not finished, in the order in which they are served."""
        with self.engine.read() as tx:
            return [row[0] for row in tx.all("view_unfinished_batch_nos", {"org": self.org})]

    @again
    def running(self, no: int, limit: int) -> list[tuple[str, float]]:
        """Items that run and tell how far they are: key and percent, at most `limit`."""
        with self.engine.read() as tx:
            return [(row[0], row[1]) for row in tx.all("view_running", {"no": no, "limit": limit})]

    @again
    def gate(self, no: int) -> Gate | None:
        """What keeps a batch's items from being claimed now. Raises NotFound."""
        with self.engine.read() as tx:
            return gate_of(_batch_row(tx, no, "view_batch_gate"), processors(tx, self.org), self.engine.now())

    @again
    def summary(self, no: int) -> dict[str, int]:
        """How many of a batch's items are in each state."""
        with self.engine.read() as tx:
            row = _batch_row(tx, no)
            return counts(row, gate_of(row, processors(tx, self.org), self.engine.now()))

    @again
    def items(self, no: int, state: str = "all", *, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """A page of a batch's items in input order; `state` is one of the contract's, or "all"."""
        with self.engine.read() as tx:
            row = _batch_row(tx, no)
            gate = gate_of(row, processors(tx, self.org), self.engine.now())
            statement = _page_statement(state, gate)
            if statement is None:
                return []
            where = {"batch_no": no, "offset": offset, "limit": _NO_LIMIT if limit is None else limit}
            if statement in _BY_RANGE:
                where["first"], where["last"] = tx.one("view_item_range", {"batch_no": no}) or (0, 0)
            return self._items(tx, [found[0] for found in tx.all(statement, where)])

    @again
    def item(self, number: int) -> dict[str, Any]:
        """The contract's item. Raises NotFound."""
        with self.engine.read() as tx:
            found = self._items(tx, [number])
        if not found:
            raise NotFound(f"there is no item {number}")
        return found[0]

    @again
    def state(self, number: int) -> str | None:
        """The state of an item as stored, None where it is gone. Cheap."""
        with self.engine.read() as tx:
            found: str | None = tx.value("view_item_state", {"id": number})
            return found

    @again
    def holder(self, number: int) -> str | None:
        """The worker that has an item in hand, None where nobody has. Cheap."""
        with self.engine.read() as tx:
            found: str | None = tx.value("view_item_holder", {"id": number})
            return found

    @again
    def attempts(self, number: int) -> list[dict[str, Any]]:
        """Every try at an item, oldest first."""
        with self.engine.read() as tx:
            return [attempt_json(row) for row in tx.dicts("view_attempts", {"id": number})]

    @again
    def logs(self, number: int, attempt: int | None = None) -> list[dict[str, Any]]:
        """What an item wrote, by attempt: {attempt, text}."""
        with self.engine.read() as tx:
            rows = tx.all("view_logs", {"id": number, "claim_no": attempt})
        return [{"attempt": claim_no, "text": text} for claim_no, text in rows]

    @again
    def artifacts(self, number: int) -> list[str]:
        """The files that an item made."""
        with self.engine.read() as tx:
            rows = tx.dicts("view_items", {"ids": json.dumps([number])})
        return list(json.loads(rows[0]["artifacts"])) if rows and rows[0]["artifacts"] else []

    @again
    def find(
        self, text: str, *, field: str | None = None, since: int | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Items whose key (unless `field` is given) or payload field is `text`, newest first."""
        text, field = storable(text), None if field is None else storable(field)
        where = {"text": text, "org": self.org, "since": since, "limit": limit}
        with self.engine.read() as tx:
            ids = set() if field else {row[0] for row in tx.all("view_find_keys", where)}
            where |= {"field": field, **_hint(text)}
            ids |= {row[0] for row in tx.all("view_find_payloads", where)}
            return self._items(tx, sorted(ids, reverse=True)[:limit])

    def _items(self, tx: Tx, ids: Sequence[int]) -> list[dict[str, Any]]:
        wanted = {"ids": json.dumps(list(ids))}
        rows = tx.dicts("view_items", wanted)
        steps: dict[int, list[Mapping[str, Any]]] = {}
        for step in tx.dicts("view_steps", wanted):
            steps.setdefault(step["item_id"], []).append(step)
        facts = self.facts(tx, {row["batch_no"] for row in rows})
        return [item_json(row, *facts[row["batch_no"]], steps.get(row["id"], ())) for row in rows]

    def facts(self, tx: Tx, nos: Iterable[int]) -> dict[int, tuple[Gate | None, int | None]]:
        known: Processors = processors(tx, self.org)
        now = self.engine.now()
        facts = {}
        for no in nos:
            row = _batch_row(tx, no, "view_batch_gate")
            facts[no] = gate_of(row, known, now), self._max_attempts(row["processor"], row["definition"])
        return facts


def _batch_row(tx: Tx, no: int, statement: str = "view_batch") -> dict[str, Any]:
    rows = tx.dicts(statement, {"no": no})
    if not rows:
        raise NotFound("the batch is gone: somebody has deleted it")
    return rows[0]


def _hint(text: str) -> dict[str, Any]:
    """What stands in every JSON text that has this value: its longest run of characters that nobody writes as escapes;
    where that is a string, with the quote behind it (engines look for the first character: a quote is everywhere).
    Where there is none, the text itself stands in it, or something is escaped."""
    run = max(_PLAIN.findall(text), key=len, default="")
    if len(run) < _HINT and run == text and not _BARE.fullmatch(text):
        return {"hint": f'{text}"', "escapes": 0}
    return {"hint": (run or text)[:_HINT], "escapes": int(not run)}


def _page_statement(state: str, gate: Gate | None) -> str | None:
    """Which statement lists a state: behind a closed gate what is pending in the store is shown as waiting."""
    if state not in ("all", *STATES):
        raise ValueError(f"{state} is no state of an item")
    if gate is not None and state == "pending":
        return None
    if gate is not None and state == "waiting":
        return "view_item_ids_not_started"
    return f"view_item_ids_{state}"
