"""`stdout_to`: standard output goes to a file that appears whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

from batchctl.model import FileRef

_MARKUP = re.compile(r"\{[{%#]")


class UnsafePathError(ValueError):
    """The path leads out of the folder that the template names."""


def target(rendered: str, template: str, folder: Path, file: FileRef | None) -> Path:
    """Where the output goes. Raises UnsafePathError.

    What comes from an order or a file name must not choose the folder: the path has to stay below the folder with which
    the template begins (`out/` of `out/{{ key }}.txt`, `/` of `/{{ path }}.txt`). Where it begins with a value, that is
    the processor's folder, or the one of the item's file. The item's own file is never overwritten.
    """
    path = Path(os.path.normpath(folder / rendered))
    literal = os.path.dirname(_MARKUP.split(template, maxsplit=1)[0])  # noqa: PTH120 - "/" and "" must differ
    allowed = [Path(os.path.normpath(folder / literal))]
    if file is not None and not literal:
        allowed.append(Path(file.path).parent)
    if rendered.startswith("/") and literal:
        path = Path(os.path.normpath(rendered))
    if path in allowed or not any(path.is_relative_to(base) for base in allowed):
        raise UnsafePathError(f"stdout_to: {_shown(path)} is not below {_shown(allowed[0])}")
    if file is not None and path == Path(os.path.normpath(file.path)):
        raise UnsafePathError(f"stdout_to: {_shown(path)} is the item's own file")
    return path


class StdoutFile:
    """A new file beside the target, which takes its place by `keep`. Raises OSError.

    The name depends on the item alone, so what a killed worker left is overwritten by the next try.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = path.with_name(f".batchctl-{number}.part")
        self.fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def keep(self) -> int:
        """On disk and in place when this returns. Returns its size in bytes."""
        size = os.fstat(self.fd).st_size
        os.fsync(self.fd)
        self._partial.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size

    def close(self) -> None:
        """What was not kept is gone."""
        os.close(self.fd)
        self._partial.unlink(missing_ok=True)


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
