"""Files to items: selected, read once, checked against what the processor accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from batchctl.intake.hashing import Facts, Unreadable, facts_of
from batchctl.intake.lanes import LaneOfPath, NoLane
from batchctl.intake.names import readable
from batchctl.intake.problems import Problems
from batchctl.intake.selection import Candidate
from batchctl.model import Incoming

# What is wrong with an item besides its file, each a reason for people; [] where it is fine.
Check = Callable[[Incoming], Sequence[str]]


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What `who` accepts: types (empty: all) and bytes (None: any size); and what `others` do, which counts, too."""

    who: str = ""
    types: Sequence[str] = ()
    max_size: int | None = None
    others: Sequence[FileLimits] = ()

    def reasons(self, facts: Facts) -> Iterator[str]:
        """Why the file is not accepted; nothing where it is."""
        if self.max_size is not None and facts.size > self.max_size:
            yield f"has {facts.size:,} bytes, but {self.who} accepts at most {self.max_size:,} (max_file_size)"
        if self.types and not facts.type.accepted(self.types):
            wanted = ", ".join(self.types)
            yield f"is {facts.type.media_type} by its content, but {self.who} accepts only {wanted} (types)"
        for other in self.others:
            yield from other.reasons(facts)


def files(
    candidates: Iterable[Candidate],
    *,
    limits: FileLimits,
    check: Check | None = None,
    lane_of: LaneOfPath | None = None,
    limit: int | None = None,
    stored: int | None = None,
    problems: Problems,
) -> Iterator[Incoming]:
    """One item a file, positions from 1. What can't be taken goes to `problems` and is left out. `stored`: their
    contents are to be stored, of at most so many bytes a file."""
    for position, (candidate, facts) in enumerate(facts_of(candidates), 1):
        if limit is not None and position > limit:
            return
        where = readable(candidate.path)
        if isinstance(facts, Unreadable):
            problems.add(where, str(facts))
            continue
        reasons = list(limits.reasons(facts))
        if stored is not None and facts.size > stored:
            reasons.append(f"has {facts.size:,} bytes, but --store-content takes at most {stored:,} (--content-limit)")
        lane = None
        if lane_of is not None:
            try:
                lane = lane_of(facts.path)
            except NoLane as error:
                reasons.append(str(error))
        if not reasons:
            item = _incoming(candidate, facts, position, where, lane, stored=stored is not None)
            reasons = list(check(item)) if check else []
        for reason in reasons:
            problems.add(where, reason)
        if not reasons:
            yield item


def _incoming(
    candidate: Candidate, facts: Facts, position: int, where: str, lane: str | None, *, stored: bool
) -> Incoming:
    key, folder = readable(candidate.key), None if stored else facts.folder
    return Incoming(key, position, "{}", where, True, facts.as_json(stored=stored), facts.sha256, lane, folder)
