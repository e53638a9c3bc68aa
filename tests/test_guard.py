"""The outage guard as a machine of its own: what a run of failures means."""

from __future__ import annotations

from dataclasses import replace

from batchctl.guard import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    RUN,
    Failure,
    Origin,
    Verdict,
    answered,
    failed,
    may_wait,
    throttled,
)

NOW = 1_800_000_000_000
HOST = Origin("p", "https://api.example.com:443", answered=True)


def failure(item: int = 1, claim_no: int = 1, **more: object) -> Failure:
    return Failure(item, claim_no, "ConnectError", "refused", **more)  # type: ignore[arg-type]


def run(origin: Origin, *failures: Failure, now: int = NOW) -> tuple[Origin, list[Verdict]]:
    verdicts = []
    for one in failures:
        origin, verdict = failed(origin, one, now)
        verdicts.append(verdict)
    return origin, verdicts


def test_several_failures_in_a_row_trip_it() -> None:
    origin, verdicts = run(HOST, *[failure()] * RUN)
    assert verdicts == [Verdict.COUNTS] * (RUN - 1) + [Verdict.TRIPPED]
    assert (origin.out_since, origin.probe_at, origin.refund) == (NOW, NOW + FIRST_PAUSE, True)
    assert origin.out(NOW)


def test_an_answer_in_between_begins_a_new_row() -> None:
    origin, _ = run(HOST, *[failure()] * (RUN - 1))
    _, verdicts = run(answered(origin), *[failure()] * (RUN - 1))
    assert verdicts == [Verdict.COUNTS] * (RUN - 1)


def test_who_never_answered_is_out_when_several_items_failed() -> None:
    fresh = replace(HOST, answered=False)
    origin, verdicts = run(fresh, *[failure(1)] * 10)
    assert verdicts == [Verdict.COUNTS] * 10
    assert failed(origin, failure(2, others={1}), NOW)[1] is Verdict.COUNTS
    assert failed(origin, failure(3, others={1, 2}), NOW)[1] is Verdict.TRIPPED
    assert failed(origin, failure(1, known=True), NOW)[1] is Verdict.TRIPPED


def test_probes_come_after_growing_pauses() -> None:
    origin, _ = run(HOST, *[failure()] * RUN)
    pauses, now = [], NOW
    for claim_no in range(2, 12):
        assert origin.probe_at is not None
        pauses.append(origin.probe_at - now)
        now = origin.probe_at
        origin, verdict = failed(
            replace(origin, probe_at=None, probe_item=7, probe_claim=claim_no), failure(7, claim_no), now
        )
        assert verdict is Verdict.WAITS
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_others_that_fail_meanwhile_move_no_probe() -> None:
    origin, _ = run(HOST, *[failure()] * RUN)
    assert failed(origin, failure(9), NOW + 1) == (origin, Verdict.WAITS)


def test_what_the_receiver_asks_for_is_heeded() -> None:
    origin, _ = run(HOST, *[failure()] * (RUN - 1), failure(retry_after=60_000))
    assert origin.probe_at == NOW + 60_000


def test_an_answer_ends_it() -> None:
    origin, _ = run(HOST, *[failure()] * RUN)
    over = answered(origin)
    assert (over.out_since, over.gates, over.failures, over.resuming, over.refund) == (None, False, 0, True, True)
    assert over.troubled
    assert not replace(over, resuming=False, refund=False).troubled


def test_after_max_outage_failures_count_again() -> None:
    origin, _ = run(HOST, *[failure(max_outage=1000)] * RUN)
    assert origin.out(NOW + 999)
    assert not origin.out(NOW + 1000)
    assert failed(origin, failure(), NOW + 1000) == (origin, Verdict.COUNTS)
    assert answered(origin).out_since is None


def test_being_throttled_is_an_answer_and_ends_being_free_of_charge() -> None:
    origin, _ = run(HOST, *[failure()] * (RUN - 1))
    slowed = throttled(origin, NOW)
    assert (slowed.failures, slowed.throttled_since) == (0, NOW)
    later = throttled(slowed, NOW + 5000)
    assert later.throttled_since == NOW
    assert may_wait(later, 6000, NOW + 5999)
    assert not may_wait(later, 6000, NOW + 6000)
    assert answered(later).throttled_since is None
