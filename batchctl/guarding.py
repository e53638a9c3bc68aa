"""A worker's side of the outage guard: what outcomes tell of receivers, and which receivers not to ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from batchctl.adaptive import Seen
from batchctl.config import ProcessorConfig
from batchctl.config.structs import HttpSpec, PlannedSpec
from batchctl.guard import Origin
from batchctl.journal import NOTICE, log
from batchctl.model import Completed, Down, Failed, Item, ItemError, Outcome
from batchctl.running import Ended
from batchctl.transitions.outages import ANY, Kind, Sign, Weighed
from batchctl.transitions.recording import Settled

_ONE_HOST = re.compile(r"https?://[^/?#{}]+([/?#]|$)", re.IGNORECASE)
_SLOW = frozenset({"Timeout", "ConnectTimeout"})
_REMEMBERED = 10_000  # origins; one that is forgotten is noted once more

Closed = Callable[[str, int], ItemError | None]


class Guard:
    """Knows the origins in trouble as the last claim found them. `config_of` tells an item's processor.

    The main thread changes what it knows by replacing it; processors ask from their threads.
    """

    def __init__(self, config_of: Callable[[Item], ProcessorConfig]) -> None:
        self._config_of = config_of
        self._heard: set[tuple[str, str]] = set()
        self._troubled: frozenset[str] = frozenset()
        self._closed: dict[tuple[str, str], Origin] = {}

    def learn(self, origins: Sequence[Origin], now: int) -> None:
        """These are in trouble now, and no others."""
        if not origins and not self._troubled:
            return
        self._troubled = frozenset(one.processor for one in origins)
        self._closed = {(one.processor, one.origin): one for one in origins if one.out(now)}

    def closed(self, processor: str) -> Closed:
        """For a processor's requests: why not to ask this origin for that item; None where it may."""

        def look(origin: str, item: int) -> ItemError | None:
            found = self._closed.get((processor, origin))
            if found is None or found.gates or found.probe_item == item:
                return None
            return ItemError(found.error_type or "Unavailable", found.error_message or f"{origin} is down")

        return look

    def signs(self, ended: Iterable[Ended], ordinary: Callable[[Ended], Settled]) -> list[Sign]:
        """What the outcomes tell, as far as it is news. `ordinary`: what becomes of a throttled item where that costs
        an attempt."""
        found: list[Sign] = []
        for at, one in enumerate(ended):
            found += self._answers(at, one)
            key = _heard(one)
            if key is not None and key in self._heard and key[0] not in self._troubled:
                continue
            sign = self._sign(at, one, key, ordinary)
            if sign is not None:
                found.append(sign)
        return found

    def _answers(self, at: int, ended: Ended) -> Iterator[Sign]:
        """What the steps before the last one tell."""
        for origin in ended.answers:
            key = ended.item.processor, origin
            if key not in self._heard or key[0] in self._troubled:
                self._heard.add(key)
                yield Sign(at, Kind.ANSWER, *key)

    def _sign(
        self, at: int, one: Ended, key: tuple[str, str] | None, ordinary: Callable[[Ended], Settled]
    ) -> Sign | None:
        outcome, name = one.outcome, one.item.processor
        config = self._config_of(one.item)
        longest = round(config.max_outage * 1000)
        match outcome:
            case Down(unsent=True):
                return Sign(at, Kind.UNSENT, name, outcome.origin)
            case Down():
                gates = serves_all(config, outcome.origin)
                return Sign(at, Kind.DOWN, name, outcome.origin, gates, longest, _ms(outcome.retry_after))
            case Failed(throttled=True) if outcome.origin is not None:
                otherwise = ordinary(one)
                return Sign(at, Kind.THROTTLED, name, outcome.origin, max_outage=longest, otherwise=otherwise)
            case Failed(origin=None) if config.kind in ("command", "python") and name in self._troubled:
                return Sign(at, Kind.ANSWER, name, ANY)
            case _ if key is not None:
                if len(self._heard) > _REMEMBERED:
                    self._heard.clear()
                self._heard.add(key)
                return Sign(at, Kind.ANSWER, *key)
        return None


def _heard(one: Ended) -> tuple[str, str] | None:
    """Who gave an answer; None where nobody is known to have."""
    outcome: Outcome = one.outcome
    if isinstance(outcome, Completed):
        return one.item.processor, outcome.origin or ANY
    if isinstance(outcome, Failed) and outcome.origin is not None and not outcome.throttled:
        return one.item.processor, outcome.origin
    return None


def tell_outages(weighed: Weighed) -> None:
    """A line of the log for each outage that a commit began or ended."""
    for origin in weighed.tripped:
        reason = f"{origin.error_type}: {origin.error_message}"
        log(NOTICE, "outage", processor=origin.processor, origin=origin.origin, error=reason)
    for origin in weighed.over:
        log(NOTICE, "outage_over", processor=origin.processor, origin=origin.origin)


def observed(ended: Iterable[Ended], adaptive: Collection[str]) -> dict[str, Seen]:
    """What the outcomes of these processors tell of how much their receivers bear."""
    found: dict[str, Seen] = {}
    for one in ended if adaptive else ():
        name = one.item.processor
        if name not in adaptive:
            continue
        before = found.get(name, Seen())
        took = [] if one.started_at is None else [max(0, one.ended_at - one.started_at)]
        answered = isinstance(one.outcome, Completed)
        found[name] = Seen([*before.took, *(took if answered else ())], before.congested or _too_much(one.outcome))
    return found


def _too_much(outcome: Outcome) -> bool:
    if isinstance(outcome, Down):
        return not outcome.unsent
    return isinstance(outcome, Failed) and (outcome.throttled or outcome.error.type in _SLOW)


def serves_all(config: ProcessorConfig, origin: str) -> bool:
    """Whether every item of the processor asks this origin, so that none need be claimed while it is down. Those of a
    chain are at different steps of it."""
    return len(config.parts) == 1 and _is_fixed(config.parts[0]) and bool(origin)


def _is_fixed(config: ProcessorConfig) -> bool:
    spec = config.spec
    if isinstance(spec, PlannedSpec):
        return False
    return not isinstance(spec, HttpSpec) or _ONE_HOST.match(str(spec.url)) is not None


def _ms(seconds: float | None) -> int:
    return round(seconds * 1000) if seconds is not None and 0 < seconds < 1e9 else 0
