"""File names as text that messages, keys and JSON can hold."""

from __future__ import annotations

import os


def readable(path: str) -> str:
    r"""The path as it is where its bytes are UTF-8, else with the others escaped: "caf\xe9.txt"."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


def is_utf8(path: str) -> bool:
    """Whether the path, decoded as `os.fsdecode` does, stands for UTF-8 bytes."""
    return readable(path) is path
