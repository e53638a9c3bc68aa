"""A store's URL as it may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def without_password(url: str) -> str:
    """The URL without its password and its options, of which one may be a password; a path as it is.

    Of a URL that can't be taken apart, such as one whose password has an unquoted `/`, only the scheme is left.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    parts = urlsplit(url)
    if parts.netloc.count("@") > 1 or "@" in parts.path + parts.query + parts.fragment or not rest:
        return f"{scheme}://…"
    user, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + place, query="", fragment=""))


def unquoted(url: str) -> bool:
    """Whether the password seems to hold characters that a URL must have percent-encoded."""
    parts = urlsplit(url)
    return parts.netloc.count("@") > 1 or "@" in parts.path + parts.fragment
