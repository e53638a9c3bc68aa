"""Turns what the store tells into messages for the targets of a config. Called under the store's write lock."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from batchctl.announce import Alert, BatchEnd, Notice
from batchctl.config import Config, Notification
from batchctl.notify import messages
from batchctl.notify.addresses import Unusable, address, recipient
from batchctl.notify.messages import Message


class ConfigAnnouncer:
    """The announcer of a config; see `batchctl.announce.Announcer`."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def wants(self, event: str, processor: str | None, organization: str | None) -> bool:
        return any(one.wants(event, processor, organization) for one in self._config.notifications)

    def batch_ended(self, end: BatchEnd) -> Sequence[Notice]:
        targets = self._targets(end.event, end.processor, end.organization or None)
        message = messages.of_batch(end, key="", mask=self._config.masker)
        return [self._notice(one, message) for one in targets]

    def alert(self, alert: Alert, *, but: str | None = None) -> Sequence[Notice]:
        targets = self._targets("alert", alert.processor, alert.organization)
        message = messages.of_alert(alert, key="", mask=self._config.masker)
        return [self._notice(one, message) for one in targets if one.id != but]

    def _targets(self, event: str, processor: str | None, organization: str | None) -> list[Notification]:
        return [one for one in self._config.notifications if one.wants(event, processor, organization)]

    def _notice(self, one: Notification, message: Message) -> Notice:
        """What cannot be sent from here is written all the same: another process may know what is missing."""
        try:
            told = recipient(address(one, message.names, self._config.secrets))
        except Unusable:
            told = ""
        key = secrets.token_hex(16)
        return Notice(one.id, replace(message, key=key, recipient=self._config.masker(told)).encoded())
