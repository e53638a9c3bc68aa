"""What a request that got no answer means: from libcurl's codes to an Outcome.

libcurl's own words name addresses; these here are short, steady (so that `errors` can group them) and hold nothing of
the request but its origin.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import pycurl  # type: ignore[import-untyped]  # it brings no types

from batchctl.model import Broken, Down, Failed, ItemError, Outcome
from batchctl.processors.http_answer import DOWN
from batchctl.processors.http_request import RequestProblem

OnUnknown = Literal["retry", "fail"]

_BAD_PEER = 51  # CURLE_PEER_FAILED_VERIFICATION of older versions
_BAD_CA_FILES = frozenset({pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_CRL_BADFILE})
_TLS = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_INVALIDCERTSTATUS,
        _BAD_PEER,
    }
)
_LOST = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR, pycurl.E_RECV_ERROR, pycurl.E_PARTIAL_FILE})
_NO_PROXY_HOST = frozenset({pycurl.E_COULDNT_RESOLVE_PROXY, 97})  # 97: CURLE_PROXY, a SOCKS proxy that refused
_BAD_URL = frozenset({pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL})


class ProcessorProblem(Exception):
    """The processor's own settings cannot be used: its CA bundle, its proxy. No item is at fault."""


@dataclass(frozen=True)
class CurlFailure(Exception):
    """How a transfer failed.

    sent         (a part of) the request went out
    proxied      the way led through a proxy, which answered CONNECT with `proxy_status` (0: it did not)
    """

    code: int
    words: str
    sent: bool
    proxied: bool
    proxy_status: int
    errno: int

    @staticmethod
    def of(handle: pycurl.Curl, code: int, words: str) -> CurlFailure:
        return CurlFailure(
            code,
            words,
            sent=handle.getinfo(pycurl.REQUEST_SIZE) > 0,
            proxied=bool(handle.getinfo(pycurl.USED_PROXY)),
            proxy_status=handle.getinfo(pycurl.HTTP_CONNECTCODE),
            errno=handle.getinfo(pycurl.OS_ERRNO),
        )


def explain(error: Exception, origin: str, timeout: float, on_unknown: OnUnknown) -> Outcome | None:
    """The outcome of a try that ended in this error; None where it is none of those that are known here."""
    match error:
        case RequestProblem():
            return Failed(ItemError(error.kind, str(error), permanent=True))
        case ProcessorProblem():
            return Broken(ItemError("ConfigError", str(error)))
        case CurlFailure(proxy_status=status) if status not in (0, 200):
            return _proxy_refused(status, origin)
        case CurlFailure(sent=True):
            return _unknown(_lost(error, origin, timeout), on_unknown)
        case CurlFailure():
            return _not_sent(error, origin)
    return None


def _lost(error: CurlFailure, origin: str, timeout: float) -> Failed | Down:
    """The request went out, and no (whole) answer came."""
    if error.code == pycurl.E_OPERATION_TIMEDOUT:
        return Failed(ItemError("Timeout", f"{origin} gave no answer within {timeout:g} s"))
    if error.code in _LOST:
        return Down(
            ItemError("ConnectionLost", f"{origin} closed the connection before its answer was complete"), origin
        )
    return Failed(ItemError("BadAnswer", f"{origin} answered with something that is not HTTP"))


def _unknown(otherwise: Failed | Down, on_unknown: OnUnknown) -> Outcome:
    """The request may have been carried out: try again (with the same key), or leave that to a person."""
    if on_unknown == "retry":
        return otherwise
    error = otherwise.error
    message = f"{error.message}; it may have carried the request out (on_unknown: fail)"
    return Failed(ItemError(error.type, message, permanent=True))


def _not_sent(error: CurlFailure, origin: str) -> Outcome:
    """No connection, so the request never left."""
    if error.code in _BAD_CA_FILES:
        return Broken(ItemError("ConfigError", "verify: the CA bundle cannot be used"))
    if error.code in _BAD_URL:
        return Failed(ItemError("InvalidUrl", f"{origin}: not an address that HTTP can reach", permanent=True))
    return Down(_not_connected(error, origin), origin)


def _proxy_refused(status: int, origin: str) -> Outcome:
    found = ItemError("ProxyError", f"the proxy answered HTTP {status} to the way to {origin}")
    if status == 407:
        return Broken(found)
    return Down(found, origin) if status in DOWN else Failed(found)


def _not_connected(error: CurlFailure, origin: str) -> ItemError:
    if error.code == pycurl.E_OPERATION_TIMEDOUT:
        return ItemError("ConnectTimeout", f"{origin} could not be reached in time")
    if error.code == pycurl.E_COULDNT_RESOLVE_HOST:
        return ItemError("DnsError", f"{origin}: no such host")
    if error.code in _TLS:
        return ItemError("TlsError", f"{origin}: no secure connection ({error.words})")
    reason = os.strerror(error.errno) if error.errno > 0 else "connection failed"
    if error.proxied or error.code in _NO_PROXY_HOST:
        return ItemError("ProxyError", f"the proxy on the way to {origin} cannot be reached: {reason}")
    return ItemError("ConnectError", f"cannot connect to {origin}: {reason}")
