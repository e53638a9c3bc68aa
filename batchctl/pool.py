"""The processors of one worker, made when their first item comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from batchctl import hosts
from batchctl.config import Config, ProcessorConfig, StepsSpec, inline
from batchctl.masking import Masker
from batchctl.membership import Membership
from batchctl.model import Item, ItemError, StepPath, StepTry
from batchctl.processors import make
from batchctl.processors.base import Processor, Runtime
from batchctl.retry import Policy


class ProcessorPool:
    """Finds or makes the processor of an item; inline batches bring their own definition."""

    def __init__(self, config: Config, member: Membership, width: int) -> None:
        self._config = config
        self._member = member
        self._width = width
        self.closed: Callable[[str], Callable[[str, int], ItemError | None]] = _open
        self._made: dict[tuple[str, str | None], Processor] = {}
        self._retired: list[Processor] = []
        self._configs: dict[tuple[str, str | None], ProcessorConfig] = {}
        self._policies: dict[tuple[str, str | None], Policy] = {}
        self._earlier: dict[tuple[int, int], ProcessorConfig] = {}  # of claims that a change of the config overtook
        self._former: Mapping[str, ProcessorConfig] = {}

    def adopt(self, config: Config, width: int, running: Iterable[Item]) -> None:
        """What comes from now on follows this config; these items end as they began."""
        self._earlier = {(item.number, item.claim_no): self.config(item) for item in running}
        self._former = {**self._former, **self._config.processors}
        self._config, self._width = config, width
        self._retired += self._made.values()
        for known in (self._made, self._configs, self._policies):
            known.clear()

    @property
    def secrets(self) -> Mapping[str, Any]:
        return self._config.secrets

    @property
    def masker(self) -> Masker:
        return self._config.masker

    def of(self, item: Item) -> Processor:
        key = (item.processor, item.definition)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make(
                self.config(item), self._runtime(self.config(item)), self._config.secrets, self._config.masker
            )
        return found

    def config(self, item: Item) -> ProcessorConfig:
        if self._earlier and (earlier := self._earlier.get((item.number, item.claim_no))):
            return earlier
        key = (item.processor, item.definition)
        found = self._configs.get(key)
        if found is None:
            found = inline(item.definition) if item.definition else self._named(item.processor)
            self._configs[key] = found
        return found

    def _named(self, name: str) -> ProcessorConfig:
        return self._config.processors.get(name) or self._former[name]

    def policy(self, item: Item, step: StepTry | None = None) -> Policy:
        """How often and how soon the item is tried again, at the step where it is."""
        if step is not None:
            return self._step_policy(item, step)
        if self._earlier and (earlier := self._earlier.get((item.number, item.claim_no))):
            return _policy(earlier)
        key = (item.processor, item.definition)
        found = self._policies.get(key)
        if found is None:
            config = self.config(item)
            found = _policy(config)
            self._policies[key] = found
        return found

    def _step_policy(self, item: Item, step: StepTry) -> Policy:
        spec = self.config(item).spec
        assert isinstance(spec, StepsSpec)
        (found,) = (one for one in spec.steps if one.name == step.name)
        config = found.fallback if step.path is StepPath.FALLBACK and found.fallback else found.config
        return replace(_policy(config), throttles=_policy(self.config(item)).throttles)

    def fingerprint(self, item: Item) -> str:
        return self.config(item).fingerprint

    def _runtime(self, config: ProcessorConfig) -> Runtime:
        width = self._width if config.concurrency is None else min(self._width, config.concurrency)
        member, closed = self._member, self.closed(config.name)
        return Runtime(member.id, self._environment(), member.inflight, member.folder, width, closed)

    def _environment(self) -> Mapping[str, str]:
        return os.environ | {hosts.MARK: self._member.id}

    def retire(self, name: str) -> None:
        """A broken processor gets no more items, the next one makes it anew; what runs in it goes on."""
        for key in [key for key in self._made if key[0] == name]:
            self._retired.append(self._made.pop(key))

    def sweep(self, busy: Iterable[Processor]) -> None:
        """Close what is retired and has nothing left to do."""
        if not self._retired:
            return
        at_work = {id(processor) for processor in busy}
        idle = [processor for processor in self._retired if id(processor) not in at_work]
        self._retired = [processor for processor in self._retired if id(processor) in at_work]
        for processor in idle:
            processor.close()

    def close(self) -> None:
        for processor in (*self._made.values(), *self._retired):
            processor.close()
        self._made.clear()
        self._retired.clear()


def _open(processor: str) -> Callable[[str, int], ItemError | None]:  # noqa: ARG001
    return lambda origin, number: None  # noqa: ARG005


def _policy(config: ProcessorConfig) -> Policy:
    paced = config.rate is not None or (config.lane is not None and config.lane.rate is not None)
    return Policy(config.max_retries, config.backoff, throttles=paced or config.adaptive)
