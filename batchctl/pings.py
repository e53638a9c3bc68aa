"""Tells a dead-man monitor (healthchecks.io and its kin) of each check. Whatever goes wrong with it only warns."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from batchctl import __version__
from batchctl.config import Ping
from batchctl.masking import Masker

_LONGEST = 10_000  # characters of the text that goes along


class Monitor:
    """`began` when a check begins, `ended` with its exit code. Needs no store. Does nothing without a `ping`.

    warn   hears what went wrong, without secrets: the address itself is one
    """

    def __init__(self, ping: Ping | None, masker: Masker, warn: Callable[[str], None]) -> None:
        self._ping = ping
        self._masker = masker
        self._warn = warn
        self._told: set[str] = set()

    def began(self) -> None:
        if self._ping is not None and self._ping.start:
            self._tell(self._ping, "start", "")

    def ended(self, code: int, text: str) -> None:
        """0 is a success. `text` goes along: what was done, or what went wrong."""
        if self._ping is not None:
            suffix = str(code) if self._ping.exit_status else "fail" if code else ""
            self._tell(self._ping, suffix, self._masker(text)[:_LONGEST])

    def _tell(self, ping: Ping, suffix: str, text: str) -> None:
        try:
            status = post(address(ping.url, suffix), text, ping.timeout)
        except OSError as error:
            self._once(f"check.ping: {host(ping.url)} cannot be reached ({error}); see that the address is right")
            return
        if not 200 <= status < 300:
            self._once(f"check.ping: {host(ping.url)} answered {status}; see that the address is right")

    def _once(self, warning: str) -> None:
        """Begin and end of a check fail alike: one line is enough."""
        if warning not in self._told:
            self._told.add(warning)
            self._warn(warning)


def address(url: str, suffix: str) -> str:
    """The monitor's address with the suffix behind its path."""
    parts = urlsplit(str(url))
    path = f"{parts.path.rstrip('/')}/{suffix}" if suffix else parts.path
    return urlunsplit(parts._replace(path=path))


def host(url: str) -> str:
    """What may be told of the address: the rest of it is a secret."""
    return urlsplit(str(url)).hostname or "the monitor"


def post(url: str, text: str, timeout: float) -> int:
    """The status of the answer. `timeout` (seconds) bounds all of it, name resolution too. Raises OSError."""
    import pycurl  # type: ignore[import-untyped]  # it brings no types; 25 ms, as much as http.client with ssl

    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.POSTFIELDS, text)
        curl.setopt(pycurl.HTTPHEADER, [f"User-Agent: batchctl/{__version__}", "Content-Type: text/plain"])
        curl.setopt(pycurl.TIMEOUT_MS, round(timeout * 1000))
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.WRITEFUNCTION, len)
        trusted = ssl.get_default_verify_paths()  # pycurl's wheels bring a TLS library that does not know the system's
        if trusted.cafile:
            curl.setopt(pycurl.CAINFO, trusted.cafile)
        if trusted.capath:
            curl.setopt(pycurl.CAPATH, trusted.capath)
        curl.perform()
        return int(curl.getinfo(pycurl.RESPONSE_CODE))
    except pycurl.error as error:
        raise OSError(_reason(error.args[0])) from None
    finally:
        curl.close()


def _reason(code: int) -> str:
    """In words, without the address that libcurl's own sentence may hold."""
    known = {5: "its proxy has no address", 6: "it has no address", 7: "nobody answers", 28: "it takes too long"}
    return known.get(code, f"libcurl error {code}")
