"""Which proxy a request goes through: the processor's own, else what the environment says."""

from __future__ import annotations

from functools import cache
from urllib.request import getproxies_environment, proxy_bypass

from yarl import URL

from batchctl.processors.http_errors import ProcessorProblem
from batchctl.processors.http_request import RequestProblem, parse_url


class Proxies:
    """`configured` is the processor's `proxy:`; an empty one means none, whatever the environment says.

    Else HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY count, in either case, as for curl.
    """

    def __init__(self, configured: str | None) -> None:
        self._configured = configured
        self._environment = getproxies_environment() if configured is None else {}

    def of(self, url: URL) -> URL | None:
        """The proxy for a request to `url`, or None. Raises ProcessorProblem where it is not one that can be used."""
        if self._configured:
            return _proxy(self._configured)
        found = self._environment.get(url.scheme) or self._environment.get("all")
        if not found or proxy_bypass(f"{url.host}:{url.port}", self._environment):
            return None
        return _proxy(found)


@cache
def _proxy(text: str) -> URL:
    try:
        return parse_url(text if "://" in text else f"http://{text}")
    except RequestProblem as error:
        raise ProcessorProblem("proxy: only http:// and https:// proxies can be used") from error
