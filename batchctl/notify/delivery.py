"""One message to one address, whatever kind of address it is."""

from __future__ import annotations

from batchctl.notify.messages import Message


class Undelivered(Exception):
    """It was not sent, or nobody can tell.

    retry_after   seconds that the target wants to be left alone
    final         trying again would not help
    """

    def __init__(self, message: str, *, retry_after: float | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.final = final


def deliver(url: str, message: Message) -> None:
    """Send it, in this thread. Raises Undelivered; its text may hold parts of the URL: mask it."""
    if url.lower().startswith("resend://"):
        from batchctl.notify import resend

        resend.deliver(url, message)
    else:
        from batchctl.notify import others

        others.deliver(url, message)


def probe(url: str) -> str | None:
    """What is wrong with an address, as far as that can be told without sending; None for nothing."""
    from batchctl.notify.messages import of_test

    message = of_test(key="0" * 32, user="")
    try:
        if url.lower().startswith("resend://"):
            from batchctl.notify import resend

            resend.parse(url)
        else:
            from batchctl.notify import others

            others.make(url, message)
    except Undelivered as problem:
        return str(problem)
    return None
