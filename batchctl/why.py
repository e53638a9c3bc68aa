"""Facts in, sentences out: why a batch or item is not running, or failed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchctl.patterns import Group
from batchctl.places import Places, may_have
from batchctl.views.gates import Gate
from batchctl.views.lanes import MANY, LaneFacts

Clock = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Queue:
    """What stands around a batch. Times in ms UTC.

    gate           what keeps its items from being claimed
    paused_by      who paused it, where somebody did
    next_retry     when the first of its items in backoff is due
    ahead_batches  unfinished batches that are served first, and how many unfinished items they have
    workers        every living worker: {"processors": […], "concurrency": n, "free": n}
    here           whether the config here knows the processor; `place` names that config
    problems       what keeps the processor from running with the config here
    pace           ms between two starts of the processor, and when the next may be; None without a rate
    held           lanes of the batch that a failure holds, each with the failed item
    behind         lanes of the batch in which another batch goes first, each with its id
    outages        which of its receivers are down, and since when
    adaptive       how many of its processor's items may run at once now, where that adapts itself
    files          the host that enqueued it, and what its files lie in; None where that does not matter
    running        how many items of the processor run; `most` how many may by the config here, None: as many as want
    """

    now: int
    gate: Gate | None = None
    paused_by: str | None = None
    next_retry: int | None = None
    ahead_batches: int = 0
    ahead_items: int = 0
    workers: Sequence[Mapping[str, Any]] = ()
    here: bool = True
    place: str = "The config here"
    problems: Sequence[str] = ()
    pace: tuple[float, float] | None = None
    held: Sequence[tuple[str, int]] = ()
    behind: Sequence[tuple[str, str]] = ()
    outages: Sequence[tuple[str, int]] = ()
    adaptive: int | None = None
    files: tuple[str, str] | None = None
    running: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """An item in the contract's JSON, and what else matters to it.

    due         when its next try is due, ms UTC
    started     when it was claimed, ms UTC
    ahead       items of its own batch that go first
    suspect     a worker died with it in hand
    told        somebody cancelled it while it runs
    holder      its worker as `batchctl workers` shows it, None where that is gone
    lane        what goes on in its lane
    """

    item: Mapping[str, Any]
    due: int | None = None
    started: int | None = None
    ahead: int = 0
    suspect: bool = False
    told: bool = False
    holder: Mapping[str, Any] | None = None
    lane: LaneFacts | None = None


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """A batch in the contract's JSON, and the patterns of its failures, most frequent first."""

    batch: Mapping[str, Any]
    failures: Sequence[Group] = field(default_factory=list)


def explain_batch(facts: BatchFacts, queue: Queue, clock: Clock) -> list[str]:
    """Sentences about a batch; `clock` turns ms UTC into a local time."""
    batch = facts.batch
    lines = [_standing(batch)]
    if batch["completed_at"] is None:
        lines += _why_open(batch, queue, clock)
    elif batch.get("error"):
        again = f"`batchctl retry {batch['id']} --cancelled` tries it, too"
        lines.append(f"It was {batch['error']}; the rest was cancelled, {again}.")
    return lines + _why_failed(facts)


def explain_item(facts: ItemFacts, batch: Mapping[str, Any], queue: Queue, clock: Clock) -> list[str]:
    """Sentences about an item; `batch` is the one it is in."""
    item = facts.item
    match item["state"]:
        case "completed":
            return ["It is completed."]
        case "cancelled":
            return ["It was cancelled.", f"`batchctl retry {item['id']} --cancelled` puts it back."]
        case "failed":
            return _item_failed(item)
        case "processing":
            return _item_running(facts, clock)
        case "submitted":
            return ["It is inside a remote batch; its result comes when the provider is done with that."]
    lines = [f"Its last try failed: {_error(item)}."] if item["error"] else []
    lines += _steps(item)
    # Without a time it is its processor's rate, which lets the next item start, whichever that is.
    waits = None if item["waiting_for"] == "rate" and facts.due is None else item["waiting_for"]
    if waits == "retry":
        overdue = facts.due is not None and facts.due <= queue.now
        lines.append(f"Its next try {'was' if overdue else 'is'} due at {_clock(facts.due, clock)}.")
        return lines + (_gate(batch, queue, clock) or _nobody(batch, queue))
    if facts.lane is not None and waits in ("lane", "rate"):
        nobody = _nobody(batch, queue) if facts.lane.held_by is None else []
        return lines + (_gate(batch, queue, clock) or [*_lane(facts, facts.lane, clock), *nobody])
    if waits == "outage":
        told = "Its receiver is down. That costs no attempts; it goes on when that answers."
        return lines + (_gate(batch, queue, clock) or [told])
    if waits == "rate":
        told = f"Its receiver wants fewer requests. That costs no attempts; the next is at {_clock(facts.due, clock)}."
        return lines + (_gate(batch, queue, clock) or [told])
    if facts.suspect:
        lines.append("A worker died with it in hand, so it is tried alone, when a worker has nothing else to do.")
    rest = [*_paced(queue, clock), *(_nobody(batch, queue) or _full(batch, queue) or _turn(facts, queue))]
    return lines + (_gate(batch, queue, clock) or rest)


def _lane(facts: ItemFacts, lane: LaneFacts, clock: Clock) -> list[str]:
    """Why it may not go yet, though nothing keeps its batch back."""
    number = facts.item["batch_id"]
    if lane.held_by is not None:
        return [
            f"Its lane {lane.value} is held since item {lane.held_by} failed: `batchctl retry {lane.held_by}` tries "
            f"that again, `batchctl resume {number}` goes on without it."
        ]
    if facts.item["waiting_for"] == "rate":
        return [f"The rate of its lane {lane.value} lets it start at {_clock(facts.due, clock)}."]
    running = sum(head["state"] == "processing" for head in lane.heads)
    lines = [f"It waits for its lane {lane.value}, which has {running} of {lane.limit} running."]
    for head in lane.heads:
        if head["waiting_for"] == "retry" and lane.limit == 1:
            due = _clock(head["next_attempt_at"], clock)
            lines.append(f"Item {head['id']} keeps the lane until its next try, which is due at {due}.")
    before = lane.ahead + len(lane.heads) - running
    if before:
        many = f"{MANY:,} items or more" if lane.ahead >= MANY else _items(before)
        lines.append(f"{many} of the lane {'goes' if before == 1 else 'go'} before it.")
    return lines


def _lanes_held(batch: Mapping[str, Any], queue: Queue) -> list[str]:
    if not queue.held:
        return []
    lane, item = queue.held[0]
    more = f" and {len(queue.held) - 1} more of its lanes are" if len(queue.held) > 1 else " is"
    return [
        f"Its lane {lane}{more} held since a failure (item {item}): `batchctl retry {item}` tries that again, "
        f"`batchctl resume {batch['id']}` goes on without it."
    ]


def _lanes_behind(batch: Mapping[str, Any], queue: Queue) -> list[str]:
    if not queue.behind or batch["pending_items"] or batch["processing_items"]:
        return []
    return [f"{behind_others('It', queue.behind)}."]


def behind_others(what: str, behind: Sequence[tuple[str, str]]) -> str:
    """That `what` waits for other batches: the lanes in which it does, each with the batch that goes first there."""
    (lane, first), more = behind[0], len({value for value, _ in behind}) - 1
    lanes = f"its lane {lane} and {more} more of its lanes" if more else f"its lane {lane}"
    ids = sorted({number for _, number in behind})
    if len(ids) == 1:
        return f"{what} waits for batch {first}, which goes first in {lanes}: `batchctl run {first}` does that"
    return f"{what} waits for {len(ids)} batches that go first in {lanes}: `batchctl run {' '.join(ids)}` does them"


def _paced(queue: Queue, clock: Clock) -> list[str]:
    """What the processor's rate means at this moment."""
    if queue.pace is None or queue.pace[1] <= queue.now:
        return []
    every = f"{queue.pace[0] / 1000:g} s"
    return [f"Its processor starts one item every {every}; the next may start at {clock(int(queue.pace[1]))}."]


def _standing(batch: Mapping[str, Any]) -> str:
    states = ("completed", "failed", "cancelled", "processing", "submitted", "waiting", "pending")
    parts = [f"{batch[f'{state}_items']:,} {state}" for state in states if batch[f"{state}_items"]]
    status = str(batch["status"]).replace("_", " ")
    return f"It is {status}: of {_items(batch['total_items'])} {', '.join(parts)}."


def _why_open(batch: Mapping[str, Any], queue: Queue, clock: Clock) -> list[str]:
    lanes = [*_lanes_held(batch, queue), *_lanes_behind(batch, queue)]
    lines = _gate(batch, queue, clock) or [*lanes, *_paced(queue, clock), *_down(queue, clock)]
    if queue.next_retry is not None:
        lines.append(f"Items wait for their next try; the first is due at {clock(queue.next_retry)}.")
    if batch["pending_items"] and not lines:
        lines += (
            _nobody(batch, queue)
            or _full(batch, queue)
            or _behind(queue)
            or ["Its items are being worked on, in input order."]
        )
    elif queue.next_retry is not None or (queue.gate is not None and queue.gate.what == "rate"):
        lines += _nobody(batch, queue)
    return lines + _adaptive(batch, queue)


def _adaptive(batch: Mapping[str, Any], queue: Queue) -> list[str]:
    if queue.adaptive is None:
        return []
    most = f"{_items(queue.adaptive)} of {batch['processor']} may run at once now"
    return [f"{most}, in all workers together (concurrency: auto)."]


def _gate(batch: Mapping[str, Any], queue: Queue, clock: Clock) -> list[str]:
    gate = queue.gate
    if gate is None:
        return []
    until = f" until {clock(gate.until)}" if gate.until is not None else ""
    by = f" by {queue.paused_by}" if queue.paused_by else ""
    number, processor = batch["id"], batch["processor"]
    match gate.what, gate.reason:
        case "rate", _:
            return []  # _paced tells
        case "batch", "schedule":
            return [f"It is scheduled: nothing starts before {_clock(gate.until, clock)}."]
        case "batch", _:
            return [f"It is paused{by}{until}; `batchctl resume {number}` lets it go on."]
        case "everything", _:
            return [f"Everything is paused{until}; `batchctl resume --all` lets it go on."]
        case "processor", _:
            return [f"The processor {processor} is paused{until}; `batchctl resume --processor {processor}` ends that."]
        case "outage", _:
            return _outage(gate, processor, clock)
    return [
        f"The processor {processor} is broken since {_clock(gate.since, clock)}: {gate.message}.",
        "That costs no attempts. Its items go on when the config or a secret changes, "
        f"or by `batchctl resume --processor {processor}`.",
        *_not_here(processor, queue),
    ]


def _down(queue: Queue, clock: Clock) -> list[str]:
    return [f"{origin} is down since {clock(at)}: its items wait." for origin, at in queue.outages]


def _outage(gate: Gate, processor: str, clock: Clock) -> list[str]:
    probe = f"the next at {clock(gate.until)}" if gate.until is not None else "one does now"
    return [
        f"Its receiver is down since {_clock(gate.since, clock)}: {_first_line(gate.message or '')}.",
        f"That costs no attempts. One item at a time tries it, {probe}; all go on when it answers, "
        f"or by `batchctl resume --processor {processor}`.",
    ]


def _nobody(batch: Mapping[str, Any], queue: Queue) -> list[str]:
    """No worker could take it, and what to do about that."""
    name = batch["processor"]
    inline = name.startswith("inline:")
    able = [one for one in queue.workers if inline or name in one["processors"]]
    if able:
        return _elsewhere(able, queue)
    here = _not_here(name, queue) if not inline else []
    if queue.workers:
        count = len(queue.workers)
        alive = "1 worker is alive, but it" if count == 1 else f"{count} workers are alive, but none of them"
        return [f"{alive} {'does not have' if count == 1 else 'has'} the processor {name} in its config.", *here]
    return ["No worker is alive.", *(here or ["`batchctl run` starts one."])]


def _full(batch: Mapping[str, Any], queue: Queue) -> list[str]:
    """As many of the processor's items run as may at once."""
    if queue.most is None or queue.running < queue.most:
        return []
    return [f"Its processor {batch['processor']} has {queue.running:,} of {queue.most:,} running (concurrency)."]


def _elsewhere(able: Sequence[Mapping[str, Any]], queue: Queue) -> list[str]:
    """None of the workers is sure to have the files."""
    if queue.files is None:
        return []
    host, folder = queue.files
    chances = {may_have(Places(one["host"], tuple(one["roots"])), host, folder) for one in able}
    if True in chances:
        return []
    if None in chances:
        return [f"Its files lie in {folder}, enqueued on host {host}; each worker takes those that its host has."]
    return [
        f"No living worker has {folder} under its `worker: roots`; its files were enqueued on host {host}.",
        "Start a worker there, or name the folder in the `roots` of a host that has it.",
    ]


def _not_here(name: str, queue: Queue) -> list[str]:
    if not queue.here:
        return [f"{queue.place} does not have the processor {name}: run where its config is, or add it."]
    if queue.problems:
        return [f"{queue.place} has it, but it cannot run: {'; '.join(queue.problems)}."]
    return []


def _turn(facts: ItemFacts, queue: Queue) -> list[str]:
    lines = []
    if facts.ahead:
        lines.append(f"{_items(facts.ahead)} of its batch {'is' if facts.ahead == 1 else 'are'} ahead of it.")
    return lines + (_behind(queue) or ([] if facts.ahead else ["It is the next of its batch."]))


def _behind(queue: Queue) -> list[str]:
    if not queue.ahead_batches:
        return []
    batches = "1 batch" if queue.ahead_batches == 1 else f"{queue.ahead_batches:,} batches"
    go = "goes" if queue.ahead_items == 1 else "go"
    return [f"{_items(queue.ahead_items)} of {batches} with higher priority or of earlier date {go} first."]


def _why_failed(facts: BatchFacts) -> list[str]:
    batch, groups = facts.batch, facts.failures
    if not batch["failed_items"]:
        return []
    lines = []
    if groups:
        top = groups[0]
        often = f"{top.count:,} of {_items(batch['failed_items'])}" if top.count > 1 else "An item"
        lines.append(f"{often} failed with {top.type}: {_first_line(top.example.message)}.")
    number = batch["id"]
    return [*lines, f"`batchctl errors {number}` groups them all, `batchctl retry {number}` tries them again."]


def _item_failed(item: Mapping[str, Any]) -> list[str]:
    tries = "its first try" if item["attempts"] <= 1 else f"{item['attempts']} tries"
    permanent = item["error"] is not None and item["error"]["permanent"]
    why = "The error is permanent, so it is not tried again by itself." if permanent else "It is out of retries."
    number = item["id"]
    return [
        f"It failed after {tries}: {_error(item)}.",
        why,
        *_steps(item),
        f"`batchctl logs {number}` shows what it wrote, `batchctl retry {number}` tries it again.",
    ]


def _steps(item: Mapping[str, Any]) -> list[str]:
    """What of a chain is done."""
    steps = item.get("steps") or ()
    done = [step["name"] for step in steps if step["completed_at"]]
    names = f"{', '.join(done[:-1])} and {done[-1]}" if len(done) > 1 else "".join(done)
    lines = [f"Done and not to be done again: the step{'s' if len(done) > 1 else ''} {names}."] if done else []
    gave_up = [step["name"] for step in steps if not step["completed_at"]]
    return lines + [f"The step {name} has given up, its fallback is tried." for name in gave_up]


def _item_running(facts: ItemFacts, clock: Clock) -> list[str]:
    item, holder = facts.item, facts.holder
    done = f", {item['progress']:.0f}% done" if item["progress"] is not None else ""
    lines = [f"It has been running since {_clock(facts.started, clock)} on worker {item['worker']}{done}."]
    if holder is None or not holder["alive"]:
        lines.append("That worker is not alive any more: the next `batchctl run` puts the item back and goes on.")
    if facts.told:
        lines.append("It was cancelled while it runs; its worker ends it.")
    return lines


def _error(item: Mapping[str, Any]) -> str:
    error = item["error"]
    return f"{error['type']}: {_first_line(error['message'])}" if error else "no error was noted"


def _first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "no message").rstrip(".")


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _clock(ms: int | None, clock: Clock) -> str:
    return "an unknown time" if ms is None else clock(ms)
