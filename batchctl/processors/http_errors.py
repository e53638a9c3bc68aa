"""What a request that got no answer means: from the client library's exceptions to an Outcome.

The library's own texts name addresses and sometimes whole URLs; these here are short, steady (so that `errors` can
group them) and hold nothing of the request but its origin.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Literal

import aiohttp

from batchctl.model import Broken, Down, Failed, ItemError, Outcome
from batchctl.processors.http_answer import DOWN
from batchctl.processors.http_request import RequestProblem

OnUnknown = Literal["retry", "fail"]


class ProcessorProblem(Exception):
    """The processor's own settings cannot be used: its CA bundle, its proxy. No item is at fault."""


class AnswerLost(Exception):
    """The connection ended after (a part of) the request went out; hides that from the client's own repeats."""


def explain(error: Exception, origin: str, timeout: float, on_unknown: OnUnknown) -> Outcome | None:
    """The outcome of a try that ended in this exception; None where the exception is not the network's."""
    match error:
        case RequestProblem():
            return Failed(ItemError(error.kind, str(error), permanent=True))
        case ProcessorProblem():
            return Broken(ItemError("ConfigError", str(error)))
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Failed(ItemError("InvalidUrl", f"{origin}: not an address that HTTP can reach", permanent=True))
        case aiohttp.ClientHttpProxyError():
            return _proxy_refused(error, origin)
        case aiohttp.ConnectionTimeoutError():
            return Down(ItemError("ConnectTimeout", f"{origin} could not be reached in time"), origin)
        case aiohttp.ClientConnectorError():
            return Down(_not_connected(error, origin), origin)
        case TimeoutError():
            return _unknown(Failed(ItemError("Timeout", f"{origin} gave no answer within {timeout:g} s")), on_unknown)
        case AnswerLost() | aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError():
            lost = ItemError("ConnectionLost", f"{origin} closed the connection before its answer was complete")
            return _unknown(Down(lost, origin), on_unknown)
        case aiohttp.ClientResponseError():
            garbled = ItemError("BadAnswer", f"{origin} answered with something that is not HTTP")
            return _unknown(Failed(garbled), on_unknown)
    return None


def _unknown(otherwise: Failed | Down, on_unknown: OnUnknown) -> Outcome:
    """The request may have been carried out: try again (with the same key), or leave that to a person."""
    if on_unknown == "retry":
        return otherwise
    error = otherwise.error
    message = f"{error.message}; it may have carried the request out (on_unknown: fail)"
    return Failed(ItemError(error.type, message, permanent=True))


def _proxy_refused(error: aiohttp.ClientHttpProxyError, origin: str) -> Outcome:
    found = ItemError("ProxyError", f"the proxy answered HTTP {error.status} to the way to {origin}")
    if error.status == 407:
        return Broken(found)
    return Down(found, origin) if error.status in DOWN else Failed(found)


def _not_connected(error: aiohttp.ClientConnectorError, origin: str) -> ItemError:
    cause = error.os_error
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
        return ItemError("DnsError", f"{origin}: no such host ({cause.strerror or 'name resolution failed'})")
    if isinstance(error, aiohttp.ClientSSLError):
        return ItemError("TlsError", f"{origin}: no secure connection ({_tls_reason(error)})")
    reason = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else "connection failed"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return ItemError("ProxyError", f"the proxy on the way to {origin} cannot be reached: {reason}")
    return ItemError("ConnectError", f"cannot connect to {origin}: {reason}")


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    cause: object = getattr(error, "certificate_error", None) or error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return (cause.reason if isinstance(cause, ssl.SSLError) else None) or "handshake failed"
