"""A real SMTP server on a local port for tests: keeps what it was given, refuses or holds what it is told to.

with MailServer() as server:
    ...
    mail = server.wait(1)[0]
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from servers import free_port

DEADLINE = 30.0
PASSWORD = "s3cret-pass/word"  # noqa: S105 - of a server that lives for one test


@dataclass(frozen=True)
class Mail:
    """One that was accepted."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage

    def body(self, kind: str) -> str:
        """The part of that kind: plain or html."""
        part = self.message.get_body((kind,))
        assert part is not None
        text: str = part.get_content()
        return text


class MailServer:
    """Listens on 127.0.0.1 while it is open. Logging in takes any user and `PASSWORD`.

    refuse   what DATA is answered instead of accepting, such as "451 try later"
    hold     DATA is answered when `release` is called
    """

    def __init__(self, *, refuse: str | None = None, hold: bool = False) -> None:
        self.refuse = refuse
        self.given = 0
        self._mails: list[Mail] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        if not hold:
            self._released.set()
        self._server = Controller(
            self, hostname="127.0.0.1", port=free_port(), authenticator=self._authenticate, auth_require_tls=False
        )

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.stop()

    @property
    def port(self) -> int:
        port: int = self._server.port
        return port

    def url(self, rest: str = "", password: str = "${SMTP_PASSWORD|url}") -> str:  # noqa: S107 - a reference to one
        """A mailto: URL as it stands in a config; `rest` begins with `&`."""
        return f"mailto://robot:{password}@example.com:{self.port}?smtp=127.0.0.1{rest}"

    def release(self) -> None:
        self._released.set()

    def wait(self, count: int = 1) -> list[Mail]:
        """The mails accepted so far, once there are `count` of them. Raises AssertionError after 30 s."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self._mails) >= count, DEADLINE)
            assert enough, f"only {len(self._mails)} of {count} mails came in"
            return list(self._mails)

    def wait_given(self, count: int = 1) -> None:
        """Until so many mails were handed over, accepted or not."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.given >= count, DEADLINE)

    @property
    def mails(self) -> list[Mail]:
        with self._changed:
            return list(self._mails)

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:  # noqa: ARG002 - the library's signature
        right = data.password == PASSWORD.encode()
        return AuthResult(success=right, handled=right)  # not handled: the library says that it was refused

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802, ARG002 - the library asks for it
        import asyncio

        with self._changed:
            self.given += 1
            self._changed.notify_all()
        while not self._released.is_set():
            await asyncio.sleep(0.01)
        if self.refuse is not None:
            return self.refuse
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        with self._changed:
            self._mails.append(Mail(envelope.mail_from, tuple(envelope.rcpt_tos), message))
            self._changed.notify_all()
        return "250 ok"
