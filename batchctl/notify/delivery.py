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
