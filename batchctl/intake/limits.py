"""Who limits what may be enqueued: the processor, and the organization whose work it is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from batchctl.config.structs import Accept, ProcessorConfig
from batchctl.errors import InvalidInput
from batchctl.model import Quota

OTHERS = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """What somebody accepts. `who` names them for people; `processor` is None where it holds for all of them."""

    who: str
    accept: Accept
    processor: str | None = None


def rules_for(
    config: ProcessorConfig, organizations: Mapping[str, Accept], organization: str | None
) -> tuple[Rule, ...]:
    """All that hold together. Work of no organization goes by `*`, like that of one which is not named."""
    rules = [Rule(config.name, config.accept, config.name)]
    name = organization if organization and organization in organizations else OTHERS
    if name in organizations:
        rules.append(Rule(whose(organization), organizations[name]))
    return tuple(rules)


def whose(organization: str | None) -> str:
    """An organization, for people."""
    return f"organization {organization}" if organization else "work without an organization"


def quotas(rules: Sequence[Rule], user: str | None) -> tuple[Quota, ...]:
    """How many batches they let in."""
    return tuple(quota for rule in rules for quota in _quotas(rule, user))


def _quotas(rule: Rule, user: str | None) -> Iterator[Quota]:
    accept = rule.accept
    if (rate := accept.batches_per_user) is not None:
        yield Quota("batches_per_user", rate.count, rate.seconds, rule.processor, user or "")
    if (rate := accept.batches_per_organization) is not None:
        yield Quota("batches_per_organization", rate.count, rate.seconds, rule.processor)


@dataclass(frozen=True, slots=True)
class MostItems:
    """The most that one batch may hold; None: any number. `who` says so."""

    count: int | None = None
    who: str = ""

    def refuse(self, count: int, *, certain: bool = True, details: Sequence[str] = ()) -> None:
        """Raises InvalidInput where so many items are too many; not `certain`: some of them may be left out."""
        if self.count is None or count <= self.count:
            return
        told = f"{count:,}" if certain else f"more than {self.count:,}"
        raise InvalidInput(
            f"{told} items, but {self.who} accepts at most {self.count:,} in a batch (max_items)",
            details=details,
            hint=f"--split {self.count} makes several batches of them",
        )

    def refuse_split(self, split: int | None) -> None:
        """Raises InvalidInput where the parts of a --split are too large."""
        if self.count is not None and split is not None and split > self.count:
            raise InvalidInput(
                f"--split {split}: {self.who} accepts at most {self.count:,} items in a batch (max_items)",
                hint=f"--split {self.count}",
            )


def most_items(rules: Sequence[Rule]) -> MostItems:
    """The strictest of them."""
    found = [MostItems(rule.accept.max_items, rule.who) for rule in rules if rule.accept.max_items is not None]
    return min(found, key=lambda most: most.count or 0, default=MostItems())
