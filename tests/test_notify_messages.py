"""What a message says, and that nothing in it can steer the mail, the page or the chat it is shown in."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from batchctl.announce import Alert, BatchEnd, FailureGroup
from batchctl.masking import Masker
from batchctl.notify.addresses import recipient
from batchctl.notify.messages import Message, of_alert, of_batch, one_line, span

START = 1_800_000_000_000
END = BatchEnd(
    event="completed_with_errors",
    at=START + 252_000,
    id="b4k2m7p9q1xyz",
    name="invoices",
    processor="create-invoice",
    organization="acme",
    user="jo@example.com",
    kind="orders",
    run_no=1,
    total=500,
    completed=486,
    failed=14,
    cancelled=0,
    created_at=START - 5_000,
    begun_at=START,
    failures=[
        FailureGroup(9, "ORD-1", "HttpError", "422: no customer 1"),
        FailureGroup(3, "ORD-10", "Timeout", "no answer within 10 s"),
        FailureGroup(1, "ORD-13", "NotFound", "the first of its kind"),
        FailureGroup(1, "ORD-14", "TooRare", "the fourth kind"),
    ],
    looked_at=14,
)


def test_the_subject_tells_all() -> None:
    assert of_batch(END, key="k").subject == "invoices: 486 completed, 14 failed"
    assert of_batch(replace(END, name=None), key="k").subject == "b4k2m7p9q1xyz: 486 completed, 14 failed"


@pytest.mark.parametrize(
    ("event", "counts", "subject", "kind"),
    [
        ("completed", (500, 0, 0), "invoices: 500 completed", "success"),
        ("failed", (0, 500, 0), "invoices: 500 failed", "failure"),
        ("cancelled", (1_234, 0, 2), "invoices: 1,234 completed, 2 cancelled", "warning"),
        ("completed", (0, 0, 0), "invoices: no items", "success"),
    ],
)
def test_the_subject_of_every_end(event: str, counts: tuple[int, int, int], subject: str, kind: str) -> None:
    completed, failed, cancelled = counts
    message = of_batch(replace(END, event=event, completed=completed, failed=failed, cancelled=cancelled), key="k")
    assert (message.subject, message.kind) == (subject, kind)


def test_the_text_has_counts_duration_the_three_most_frequent_errors_and_the_next_command() -> None:
    text = of_batch(END, key="k").text
    assert "486 completed, 14 failed of 500" in text
    assert "4 min 12 s" in text
    assert "jo@example.com" in text
    assert "9 × HttpError: <n>: no customer <n> (for example ORD-1)" in text
    assert "3 × Timeout: no answer within <n> s (for example ORD-10)" in text
    assert "1 × NotFound: the first of its kind (for example ORD-13)" in text
    assert "TooRare" not in text
    assert "batchctl errors b4k2m7p9q1xyz" in text
    assert "batchctl retry b4k2m7p9q1xyz --run" in text


def test_a_success_leads_to_the_results_and_a_cancel_to_the_history() -> None:
    good = of_batch(replace(END, event="completed", completed=500, failed=0, failures=[]), key="k").text
    assert "batchctl results b4k2m7p9q1xyz" in good
    assert "errors" not in good
    none = of_batch(replace(END, event="cancelled", completed=0, failed=0, cancelled=500, failures=[]), key="k").text
    assert "batchctl history b4k2m7p9q1xyz" in none


def test_it_says_when_it_has_looked_at_some_failures_only() -> None:
    assert "among the first 14 failures" in of_batch(replace(END, failed=400), key="k").text
    assert "among the first" not in of_batch(END, key="k").text


def test_a_second_run_says_so() -> None:
    assert "Run:" not in of_batch(END, key="k").text
    assert "2 (some items were tried again)" in of_batch(replace(END, run_no=2), key="k").text


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert attrs == []


EVIL = "x\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script><a href='//evil'>*_`[x](y)\u202egnp\x1b[31m\x00"


def test_foreign_texts_inject_nothing() -> None:
    failures = [FailureGroup(count, EVIL, EVIL, EVIL) for count in (1, 13)]
    message = of_batch(
        replace(END, name=EVIL, user=EVIL, processor=EVIL, organization=EVIL, failures=failures), key="k"
    )
    assert message.subject.isprintable()
    assert message.text.replace("\n", "").isprintable()
    assert not [line for line in message.text.splitlines() if line.lower().startswith("bcc")]
    elements = _Elements()
    elements.feed(message.html)
    assert elements.seen == {"p", "b", "ul", "li", "code"}
    alert = of_alert(Alert("queue_depth", EVIL, processor=EVIL, organization=EVIL), key="k")
    assert alert.subject.isprintable()
    assert "<script" not in alert.html


def test_long_texts_are_cut() -> None:
    failures = [FailureGroup(count, "k" * 5_000, "T" * 5_000, "m" * 5_000) for count in (1, 13)]
    message = of_batch(replace(END, name="n" * 5_000, failures=failures), key="k")
    assert len(message.subject) < 200
    assert len(message.encoded()) < 5_000


def test_secrets_are_masked_everywhere() -> None:
    failures = [FailureGroup(1, "hunter2hunter", "Oops", "password hunter2hunter")]
    end = replace(END, name="hunter2hunter", failures=failures)
    message = of_batch(end, key="k", mask=Masker(["hunter2hunter"]))
    assert "hunter2hunter" not in message.subject + message.text + message.html + str(message.facts)
    assert "password ***" in message.text


def test_an_alert_says_what_and_what_to_type_and_later_that_it_is_over() -> None:
    raised = Alert("queue_depth", "1,204 items wait", since=START, command="batchctl list --status processing")
    message = of_alert(raised, key="k")
    assert message.subject == "alert: 1,204 items wait"
    assert message.kind == "failure"
    assert "batchctl list --status processing" in message.text
    over = of_alert(replace(raised, raised=False), key="k")
    assert over.subject == "over: 1,204 items wait"
    assert over.kind == "info"
    assert "batchctl" not in over.text


def test_a_message_survives_the_store() -> None:
    message = of_batch(replace(END, user="jö \udc80"), key="k")
    back = Message.decoded(message.encoded())
    assert replace(back, names={}, facts={}, text="", html="") == replace(message, names={}, facts={}, text="", html="")
    assert back.names["batch"]["id"] == END.id
    for broken in (b"", b"{}", b"[]", b'{"key": 1}', b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            Message.decoded(broken)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mailto://robot:pw@example.com?to=jo%40example.org", "jo@example.org"),
        ("mailtos://robot:pw@example.com:587/a%40x.org/b%40y.org", "a@x.org, b@y.org"),
        ("mailto://robot:pw@example.com?to=", "robot@example.com"),
        ("resend://re_key:robot@example.com/jo%40example.org", "jo@example.org"),
        ("resend://re_key:robot@example.com/", "robot@example.com"),
        ("slack://TokenAAAA1/TokenB/TokenC/#ops", ""),
        ("slack://TokenAAAA1/TokenB/TokenC/%23ops", "#ops"),
        ("jsons://user:pw@hooks.example.com/abc", "hooks.example.com"),
        ("json://127.0.0.1:8080/x", "127.0.0.1:8080"),
        ("tgram://123456789:AAFtoken/chat", ""),
    ],
)
def test_the_recipient_is_shown_and_no_credential(url: str, shown: str) -> None:
    assert recipient(url) == shown


def test_one_line_and_span() -> None:
    assert one_line(" a\n\tb \x07 c ") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert [span(ms) for ms in (-5, 999, 1_000, 61_000, 3_600_000, 90_061_000)] == [
        "less than a second",
        "less than a second",
        "1 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
    ]
