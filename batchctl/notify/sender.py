"""Sends what is due in the outbox: claims a few messages, sends them at the same time, records how each ended.

A target that is down or slow delays neither the others nor, for long, whoever waits for `send_due`.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue

from batchctl.config import Config, Notification
from batchctl.engines.again import again
from batchctl.engines.base import Engine
from batchctl.notify.addresses import Unusable, address
from batchctl.notify.delivery import Undelivered, deliver
from batchctl.notify.messages import Message, one_line
from batchctl.retry import Backoff, pause_after
from batchctl.store import Store
from batchctl.transitions import outbox
from batchctl.transitions.outbox import Claimed, Sent

PATIENCE = 20.0  # seconds for one message; what takes longer goes on in its thread but counts as failed
_TOGETHER = 16  # messages at once
_EACH = 4  # of one target
_BACKOFF = Backoff(base=60.0, factor=2.0, max=3600.0, jitter=0.1)
_ALONE = 60_000  # ms for which a target that failed is left alone
_MOST_ROUNDS = 1_000


@dataclass(slots=True)
class Sending:
    """What came of it. `failed` will be tried again; `errors` are sentences about what is new: the first failure of a
    message, and its death."""

    sent: int = 0
    failed: int = 0
    dead: int = 0
    errors: list[str] = field(default_factory=list)


def send_due(store: Store, config: Config, *, deadline: float | None = None, org: str | None = None) -> Sending:
    """Send what is due to the targets of this config. `deadline`: by time.monotonic(), after which nothing more is
    begun; what was begun has `PATIENCE`. `org`: only this organization's messages. Raises StoreError; never for a
    target's sake."""
    total = Sending()
    engine = store.engine
    _recover(engine)
    _expire(engine, total, org)
    targets = {one.id: one for one in config.notifications if not one.missing}
    if not _any_due(engine, targets, org):
        return total
    sender = "n" + secrets.token_hex(8)
    presence = engine.presence(sender)
    try:
        for _ in range(_MOST_ROUNDS):
            if deadline is not None and time.monotonic() >= deadline:
                break
            if not _any_due(engine, targets, org) or not _round(engine, config, targets, sender, total, org):
                break
    finally:
        _give_back(engine, sender)
        presence.leave()
    return total


@again
def _any_due(engine: Engine, targets: Collection[str], org: str | None) -> bool:
    if not targets:
        return False
    with engine.read() as tx:
        return outbox.due(tx, targets, engine.now(), org)


@again
def _recover(engine: Engine) -> None:
    """What a dead sender held is due again; and what one that is stuck holds for too long."""
    with engine.read() as tx:
        found = outbox.senders(tx)
    for sender, until in found:
        if not engine.alive(sender) or until <= engine.now():
            with engine.write() as tx:
                outbox.release(tx, sender, engine.now())


@again
def _expire(engine: Engine, total: Sending, org: str | None) -> None:
    with engine.read() as tx:
        if not outbox.any_expired(tx, engine.now(), org):
            return
    with engine.write() as tx:
        dead = outbox.expire(tx, engine.now(), org)
    total.dead += len(dead)
    total.errors += [_grave(one) for one in dead]


@again
def _give_back(engine: Engine, sender: str) -> None:
    """What was claimed and not recorded, because we were interrupted."""
    with engine.read() as tx:
        held = sender in dict(outbox.senders(tx))
    if held:
        with engine.write() as tx:
            outbox.release(tx, sender, engine.now())


def _round(
    engine: Engine, config: Config, targets: dict[str, Notification], sender: str, total: Sending, org: str | None
) -> bool:
    """Claim, send, record. False where nothing was due."""
    claimed = _claim(engine, targets, sender, org)
    if not claimed:
        return False
    results = _send_all(claimed, config, targets)
    now = engine.now()
    ended = [_judged(notice, problem, now, config) for notice, problem in zip(claimed, results, strict=True)]
    _tally(total, ended, _record(engine, sender, ended, _to_leave_alone(claimed, results, now), now))
    return True


@again
def _claim(engine: Engine, targets: Collection[str], sender: str, org: str | None) -> list[Claimed]:
    with engine.write() as tx:
        return outbox.claim(tx, sender, targets, engine.now(), limit=_TOGETHER, each=_EACH, org=org)


@again
def _record(engine: Engine, sender: str, ended: Sequence[Sent], alone: Mapping[str, int], now: int) -> list[Sent]:
    """They have been sent: what is not recorded is sent once more. Returns those that are given up."""
    with engine.write() as tx:
        dead = outbox.record(tx, sender, ended, now)
        for target, until in alone.items():
            outbox.postpone(tx, target, until)
        return dead


def _send_all(claimed: Sequence[Claimed], config: Config, targets: dict[str, Notification]) -> list[Undelivered | None]:
    """A thread a message, all at once: None where it was sent."""
    done: Queue[tuple[int, Undelivered | None]] = Queue()

    def work(place: int, notice: Claimed) -> None:
        try:
            _send(notice, config, targets[notice.target])
        except Undelivered as problem:
            done.put((place, problem))
        except Exception as error:  # noqa: BLE001 - whatever a library does, it is this message's failure alone
            done.put((place, Undelivered(f"{type(error).__name__}: {error}")))
        else:
            done.put((place, None))

    for place, notice in enumerate(claimed):  # daemons: one that hangs must not keep the program from ending
        threading.Thread(target=work, args=(place, notice), name="notify", daemon=True).start()
    results: list[Undelivered | None] = [Undelivered(f"no answer within {PATIENCE:.0f} s") for _ in claimed]
    end = time.monotonic() + PATIENCE
    for _ in claimed:
        try:
            place, problem = done.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        results[place] = problem
    return results


def _send(notice: Claimed, config: Config, one: Notification) -> None:
    try:
        message = Message.decoded(notice.message)
        url = address(one, message.names, config.secrets)
    except Unusable as problem:
        raise Undelivered(str(problem), final=problem.final) from None
    except ValueError as problem:
        raise Undelivered(str(problem), final=True) from None
    deliver(url, message)


def _judged(notice: Claimed, problem: Undelivered | None, now: int, config: Config) -> Sent:
    if problem is None:
        return Sent(notice)
    error = one_line(config.masker(str(problem)), 500)
    if problem.final:
        return Sent(notice, error)
    pause = max(pause_after(notice.attempts, _BACKOFF), problem.retry_after or 0.0)
    return Sent(notice, error, now + round(pause * 1000))


def _to_leave_alone(claimed: Sequence[Claimed], results: Sequence[Undelivered | None], now: int) -> dict[str, int]:
    """Targets that failed for now, and until when nothing more goes there."""
    found: dict[str, int] = {}
    for notice, problem in zip(claimed, results, strict=True):
        if problem is not None and not problem.final:
            until = now + max(_ALONE, round((problem.retry_after or 0.0) * 1000))
            found[notice.target] = max(until, found.get(notice.target, 0))
    return found


def _tally(total: Sending, ended: Sequence[Sent], dead: Sequence[Sent]) -> None:
    gone = {one.notice.id for one in dead}
    total.errors += [_grave(one) for one in dead]
    total.dead += len(dead)
    for one in ended:
        if one.error is None:
            total.sent += 1
        elif one.notice.id not in gone:
            total.failed += 1
            if one.notice.attempts == 1:
                total.errors.append(
                    f"a message ({one.notice.event}) to {one.notice.target} is tried again: {one.error}"
                )


def _grave(one: Sent) -> str:
    what = f"a message ({one.notice.event}) to {one.notice.target} is given up: {one.error}"
    return f"{what}; send it again with `batchctl notify retry {one.notice.id}`"
