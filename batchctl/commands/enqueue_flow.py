"""What happens behind `enqueue`: target, items, checks, store, answer, and with --run the drain."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from batchctl import console, duration
from batchctl.commands import enqueue_answer as answer
from batchctl.commands.common import Globals, batch_name, moment, one_line
from batchctl.commands.enqueue_options import EnqueueOptions
from batchctl.commands.enqueue_wanted import Wanted
from batchctl.errors import InvalidInput, StoreMissing, UsageError
from batchctl.intake import contents, limits
from batchctl.intake.preview import item_of, preview
from batchctl.intake.problems import Problems
from batchctl.intake.submit import Submission, Terms
from batchctl.intake.target import Target, inline, named
from batchctl.model import Incoming, NewBatch, Priority
from batchctl.store import Loaded

_PREVIEWED = 3
_INLINE_ONLY = ("timeout", "retries", "stdout_to")
_RUN_ONLY = ("concurrency", "max_time", "grace", "max_items", "no_wait", "wait_remote", "forever")


def enqueue(shared: Globals, options: EnqueueOptions, words: Sequence[str] | None, wanted: Wanted) -> int:
    """The whole of one call; returns its exit code."""
    _fitting(options, words)
    target = target_of(shared, options, words)
    if wanted.contents is not None:
        _refuse_contents(target)
    terms = _terms(shared, options, target, wanted)
    problems = Problems()
    items = wanted.items(target, problems)
    if options.dry_run:
        return _dry_run(shared, target, terms, items, problems, wanted)
    submission = Submission(terms, problems, lambda: shared.open_store(create=True), wanted.contents)
    loaded = submission.submit(items)
    if not submission.count and not options.skip_known:
        raise wanted.nothing()
    if left_out := wanted.left_out_text():
        console.note(left_out)
    for problem in target.config.problems:
        console.warn(f"{target.name} cannot run yet, its items will wait: {problem}")
    answer.enqueued(shared, options, loaded)
    return _run(shared, options, loaded, words) if options.run and loaded.batch_nos else 0


def target_of(shared: Globals, options: EnqueueOptions, words: Sequence[str] | None) -> Target:
    """The processor that the options or the words after -- name. Raises UsageError or InvalidInput."""
    config, organization = shared.config(), shared.organization
    if words is None:
        return named(config, options.processor, organization)
    settings: dict[str, Any] = {
        "timeout": seconds(options.timeout, "--timeout"),
        "retries": options.retries,
        "stdout_to": options.stdout_to,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    target = inline(config, words, str(shared.cwd), given, organization)
    assert target.definition is not None
    if config.masker(target.definition) != target.definition:
        raise InvalidInput(
            "the command holds a secret of the config, which the store and process lists would show",
            hint="make it a processor of the config, with `env:` for the secret",
        )
    return target


def seconds(text: str | None, option: str) -> float | None:
    """A duration option in seconds. Raises InvalidInput."""
    if text is None:
        return None
    try:
        return duration.duration(text)
    except ValueError as error:
        raise InvalidInput(f"{option}: {error}") from None


def stored_bytes(limit: str | None, *, store_content: bool) -> int | None:
    """The most bytes of a file that are stored, None where none are. Raises UsageError or InvalidInput."""
    if not store_content:
        if limit is not None:
            raise UsageError("--content-limit goes with --store-content")
        return None
    try:
        most = contents.LIMIT if limit is None else duration.size(limit)
    except ValueError as error:
        raise InvalidInput(f"--content-limit: {error}") from None
    if most > contents.MOST:
        raise InvalidInput(f"--content-limit {limit}: a store takes at most {contents.MOST:,} bytes of a file")
    return most


def _refuse_contents(target: Target) -> None:
    if target.config.after is not None:
        raise UsageError(
            f"{target.name} moves or deletes its items' files (`after`), which --store-content leaves where they are",
            hint="leave out --store-content, or use a processor without `after`",
        )


def _fitting(options: EnqueueOptions, words: Sequence[str] | None) -> None:
    if words is not None and options.processor is not None:
        raise UsageError("-p names a processor, and so does the command after --", hint="leave one of them out")
    if words is None and (given := options.given(*_INLINE_ONLY)):
        raise UsageError(f"{given[0]} goes with a command after --", hint="a processor's own stand in the config")
    if not options.run and (given := options.given(*_RUN_ONLY)):
        raise UsageError(f"{given[0]} goes with --run")
    if options.dry_run and options.run:
        raise UsageError("--dry-run stores nothing, so there is nothing to --run")
    batch_name(options.name)
    one_line(options.idempotency_key, "--idempotency-key")


def _terms(shared: Globals, options: EnqueueOptions, target: Target, wanted: Wanted) -> Terms:
    most = limits.most_items(target.rules)
    most.refuse_split(options.split)
    new = NewBatch(
        kind=wanted.kind,
        processor=target.name,
        definition=target.definition,
        name=options.name,
        group=options.split is not None,
        priority=Priority[options.priority.name],
        organization=shared.organization,
        user=shared.user,
        not_before=moment(options.not_before, "--not-before"),
        idempotency_key=options.idempotency_key,
        max_failures=target.config.max_failures,
        quotas=limits.quotas(target.rules, shared.user),
    )
    return Terms(new, options.split, options.on_duplicate.value, options.skip_known, options.again, most)


def _dry_run(
    shared: Globals, target: Target, terms: Terms, items: Iterator[Incoming], problems: Problems, wanted: Wanted
) -> int:
    """Look at everything, show the first few, store nothing."""
    first = list(islice(items, _PREVIEWED))
    count = len(first) + sum(1 for _ in items)
    problems.raise_if_any("the input")
    if not count:
        raise wanted.nothing()
    _refuse_beyond_limits(shared, terms, count)
    config = shared.config()
    shown = [preview(target.config, item_of(each, terms.new, total=count), config.secrets) for each in first]
    answer.previewed(shared, target.name, config.masker.value(shown), count)
    return 0


def _refuse_beyond_limits(shared: Globals, terms: Terms, count: int) -> None:
    """What `enqueue` would say to so many items, as far as can be told before. Raises InvalidInput, LimitReached."""
    if terms.split is None and terms.certain:
        terms.max_items.refuse(count)
    if terms.new.quotas and terms.certain and not terms.new.idempotency_key:
        with suppress(StoreMissing):
            shared.open_store().refuse_over_quota(terms.new, -(-count // terms.split) if terms.split else 1)


def _run(shared: Globals, options: EnqueueOptions, loaded: Loaded, words: Sequence[str] | None) -> int:
    from batchctl.commands.drain import RunOptions, run_batches

    return run_batches(
        shared,
        None if options.forever else loaded.batch_nos,
        RunOptions(
            concurrency=options.concurrency or _jobs(shared, words),
            max_time=seconds(options.max_time, "--max-time"),
            grace=seconds(options.grace, "--grace"),
            max_items=options.max_items,
            no_wait=options.no_wait,
            wait_remote=options.wait_remote,
            forever=options.forever,
            print_output=words is not None and not shared.json,
        ),
        also=None if options.forever else lambda batches: answer.document(batches, loaded, options),
    )


def _jobs(shared: Globals, words: Sequence[str] | None) -> int | None:
    """How many inline commands at once where nobody said: as many as there are CPUs."""
    if words is None or shared.environ.get("BATCHCTL_CONCURRENCY"):
        return None
    return len(os.sched_getaffinity(0))
