"""From a notification of the config and a message to the address it goes to, and what of that may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from batchctl.config import Notification
from batchctl.errors import ConfigError
from batchctl.template import Template, TemplateError

_HOST = re.compile(r"localhost|[\w-]+(\.[\w-]+)+|\[[0-9A-Fa-f:]+\]")


class Unusable(Exception):
    """The address cannot be made from here; `final`: trying again would not help."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


def address(one: Notification, names: Mapping[str, Any], secrets: Mapping[str, Any]) -> str:
    """The URL, with its credentials. Raises Unusable."""
    if one.missing:
        raise Unusable(f"{one.id}: {', '.join(one.missing)} has no value here", final=False)
    try:
        return str(Template(one.to, where="to", url=True).render({**names, "secrets": secrets}))
    except (TemplateError, ConfigError) as error:
        raise Unusable(f"{one.id}: {error.message}", final=True) from None


def recipient(url: str) -> str:
    """Who gets it, as far as that is no credential: mail addresses, channels, else the host; "" for nothing."""
    parts = urlsplit(url)
    named = [value for name, value in parse_qsl(parts.query) if name == "to" and value]
    people = named or [unquote(part) for part in parts.path.split("/") if part]
    user, _, host = parts.netloc.rpartition("@")
    mail = {"mailto": user.partition(":")[0], "mailtos": user.partition(":")[0], "resend": user.partition(":")[2]}
    if parts.scheme in mail:
        return ", ".join(people) or f"{unquote(mail[parts.scheme])}@{host.partition(':')[0]}"
    people = [part for part in people if "@" in part or part.startswith("#")]
    if people:
        return ", ".join(people)
    return host if _HOST.fullmatch(host.rpartition(":")[0] or host) else ""
