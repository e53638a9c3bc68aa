"""Which files this host has, where several hosts share a store: by the config's roots, else by looking."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum


class Place(Enum):
    """Where the files of a batch are: all HERE as far as anybody can tell, none here, or to be looked at one by one."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    EACH = "each"


@dataclass(frozen=True, slots=True)
class Places:
    """What a worker goes by.

    host     the name of this host
    roots    `worker: roots`: whose files are ours, and nobody else's; none: every file that is there
    shared   whether other hosts may use the store
    present  the roots that are there at this moment
    """

    host: str
    roots: tuple[str, ...] = ()
    shared: bool = False
    present: tuple[str, ...] = ()

    @property
    def judging(self) -> bool:
        """False where every file is ours."""
        return bool(self.roots) or self.shared

    def seen(self) -> Places:
        """The same with the roots that are there now."""
        return replace(self, present=tuple(root for root in self.roots if os.path.isdir(root)))  # noqa: PTH112

    def batch(self, host: str, folder: str | None) -> Place:
        """Of a batch that was enqueued on `host` and whose files all lie in `folder` (None: it needs none)."""
        if folder is None or not self.judging:
            return Place.HERE
        if self.roots:
            if is_below(folder, self.present):
                return Place.HERE
            return Place.EACH if any(is_below(root, (folder,)) for root in self.present) else Place.ELSEWHERE
        if host in ("", self.host):  # who enqueued it had it: here it is missing, or there
            return Place.HERE
        return Place.EACH if os.path.isdir(folder) else Place.ELSEWHERE  # noqa: PTH112

    def file(self, path: str) -> bool:
        """Of a batch with Place.EACH: whether this file is ours."""
        return is_below(path, self.present) if self.roots else os.path.exists(path)  # noqa: PTH110


def may_have(place: Places, host: str, folder: str | None) -> bool | None:
    """Whether a worker of another host, known by its row alone, takes files of such a batch; None: it has to look."""
    if folder is None:
        return True
    if place.roots:
        if is_below(folder, place.roots):
            return True
        return None if any(is_below(root, (folder,)) for root in place.roots) else False
    return True if host in ("", place.host) else None


def is_below(path: str, folders: Sequence[str]) -> bool:
    """True where the path is one of the folders or lies in one; by name alone, links are not followed."""
    plain = os.path.normpath(path)
    return any(plain == folder or plain.startswith(folder.rstrip("/") + "/") for folder in folders)


def common(folder: str | None, other: str) -> str:
    """The deepest folder that holds both; None: there is only the other."""
    if folder is None or folder == other or folder.startswith(other.rstrip("/") + "/"):
        return other
    return folder if other.startswith(folder.rstrip("/") + "/") else os.path.commonpath((folder, other))
